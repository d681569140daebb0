// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/html_checker.h"

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace influence {
namespace {

constexpr absl::string_view kVoid[] = {"area", "br",    "col",  "hr",
                                       "img",  "input", "meta", "wbr"};
constexpr absl::string_view kLoading[] = {"script", "link", "iframe", "object",
                                          "embed",  "base", "use",    "image"};
constexpr absl::string_view kLoadingAttributes[] = {
    "src", "srcset", "poster", "data", "background", "xlink:href"};
constexpr absl::string_view kReferences[] = {"for", "aria-labelledby",
                                             "aria-describedby"};

template <size_t kSize>
bool Contains(const absl::string_view (&list)[kSize], absl::string_view name) {
  return std::find(std::begin(list), std::end(list), name) != std::end(list);
}

bool IsNameCharacter(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' ||
         c == ':';
}

class Checker {
 public:
  explicit Checker(absl::string_view html) : html_(html) {}

  absl::StatusOr<HtmlSummary> Run() {
    while (at_ < html_.size()) {
      if (html_[at_] == '<') {
        INFLUENCE_RETURN_IF_ERROR(ReadTag());
      } else {
        const size_t end = std::min(html_.find('<', at_), html_.size());
        INFLUENCE_RETURN_IF_ERROR(CheckText(html_.substr(at_, end - at_)));
        at_ = end;
      }
    }
    if (!open_.empty()) {
      return Error(absl::StrCat("found no end of <", open_.back(), ">"));
    }
    for (const std::string& id : references_) {
      if (ids_.count(id) == 0) {
        return Error(absl::StrCat("found a reference to #", id,
                                  ", expected an element with that id"));
      }
    }
    return summary_;
  }

 private:
  // `offset`: of the fault from at_.
  absl::Status Error(absl::string_view what, size_t offset = 0) const {
    const auto line =
        std::count(html_.begin(), html_.begin() + at_ + offset, '\n') + 1;
    return absl::InvalidArgumentError(absl::StrCat("line ", line, ": ", what));
  }

  // `text` starts at at_, or is an attribute of the tag that does.
  absl::Status CheckText(absl::string_view text) const {
    if (!open_.empty() && open_.back() == "style") return absl::OkStatus();
    for (size_t i = text.find('&'); i != absl::string_view::npos;
         i = text.find('&', i + 1)) {
      size_t end = i + 1;
      if (end < text.size() && text[end] == '#') ++end;
      const size_t first = end;
      while (end < text.size() &&
             std::isalnum(static_cast<unsigned char>(text[end]))) {
        ++end;
      }
      if (end == first || end == text.size() || text[end] != ';') {
        return Error("found a lone &, expected a character reference", i);
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadTag() {
    if (absl::StartsWith(html_.substr(at_), "<!--")) {
      const size_t end = html_.find("-->", at_);
      if (end == absl::string_view::npos) return Error("found no end of <!--");
      at_ = end + 3;
      return absl::OkStatus();
    }
    if (absl::StartsWithIgnoreCase(html_.substr(at_), "<!doctype html>")) {
      at_ += 15;
      return absl::OkStatus();
    }
    size_t at = at_ + 1;
    const bool closing = at < html_.size() && html_[at] == '/';
    if (closing) ++at;
    const std::string name = ReadName(at);
    if (name.empty()) return Error("found a lone <, expected a tag");
    if (closing) {
      if (at >= html_.size() || html_[at] != '>') {
        return Error(absl::StrCat("found no end of </", name));
      }
      if (open_.empty() || open_.back() != name) {
        return Error(absl::StrCat(
            "found </", name, ">, expected ",
            open_.empty() ? "none" : absl::StrCat("</", open_.back(), ">")));
      }
      open_.pop_back();
      at_ = at + 1;
      return absl::OkStatus();
    }
    std::map<std::string, std::string> attributes;
    while (true) {
      while (at < html_.size() && absl::ascii_isspace(html_[at])) ++at;
      if (at >= html_.size())
        return Error(absl::StrCat("found no end of <", name));
      if (html_[at] == '>' || absl::StartsWith(html_.substr(at), "/>")) break;
      const std::string attribute = ReadName(at);
      if (attribute.empty()) {
        return Error(absl::StrCat("found '", html_.substr(at, 1), "' in <",
                                  name, ">, expected an attribute"));
      }
      std::string value;
      if (at < html_.size() && html_[at] == '=') {
        ++at;
        const size_t end = at < html_.size() && html_[at] == '"'
                               ? html_.find('"', at + 1)
                               : absl::string_view::npos;
        if (end == absl::string_view::npos) {
          return Error(absl::StrCat("found ", attribute, " without quotes in <",
                                    name, ">"));
        }
        value = std::string(html_.substr(at + 1, end - at - 1));
        at = end + 1;
      }
      if (!attributes.emplace(attribute, value).second) {
        return Error(
            absl::StrCat("found ", attribute, " twice in <", name, ">"));
      }
    }
    const bool self_closing = html_[at] == '/';
    INFLUENCE_RETURN_IF_ERROR(CheckElement(name, attributes));
    at_ = at + (self_closing ? 2 : 1);
    if (!self_closing && !Contains(kVoid, name)) open_.push_back(name);
    if (name == "style") {
      const size_t end = html_.find("</style>", at_);
      const absl::string_view style =
          html_.substr(at_, end == absl::string_view::npos ? 0 : end - at_);
      INFLUENCE_RETURN_IF_ERROR(CheckStyle(style));
      at_ += style.size();
    }
    return absl::OkStatus();
  }

  std::string ReadName(size_t& at) const {
    const size_t begin = at;
    while (at < html_.size() && IsNameCharacter(html_[at])) ++at;
    return absl::AsciiStrToLower(html_.substr(begin, at - begin));
  }

  absl::Status CheckStyle(absl::string_view style) const {
    for (const absl::string_view loading : {"url(", "@import", "image-set("}) {
      if (absl::StrContains(style, loading)) {
        return Error(absl::StrCat("found ", loading, " in a style"));
      }
    }
    return absl::OkStatus();
  }

  absl::Status CheckElement(
      const std::string& name,
      const std::map<std::string, std::string>& attributes) {
    ++summary_.elements[name];
    if (Contains(kLoading, name)) {
      return Error(absl::StrCat("found <", name, ">, which loads or runs"));
    }
    for (const auto& [attribute, value] : attributes) {
      INFLUENCE_RETURN_IF_ERROR(CheckText(value));
      if (Contains(kLoadingAttributes, attribute) &&
          !absl::StartsWith(value, "data:")) {
        return Error(absl::StrCat("found ", attribute, "=\"",
                                  value.substr(0, 40),
                                  "\", expected a data URI"));
      }
      if (absl::StartsWith(attribute, "on")) {
        return Error(absl::StrCat("found a script in ", attribute));
      }
      if (attribute == "style") INFLUENCE_RETURN_IF_ERROR(CheckStyle(value));
      if (attribute == "id" && !ids_.insert(value).second) {
        return Error(absl::StrCat("found id ", value, " twice"));
      }
      if (attribute == "href") {
        if (name != "a")
          return Error(absl::StrCat("found href in <", name, ">"));
        absl::string_view target = value;
        if (absl::ConsumePrefix(&target, "#")) {
          references_.insert(std::string(target));
        } else if (!absl::StartsWith(target, "https://")) {
          return Error(absl::StrCat("found href=\"", value,
                                    "\", expected #... or https://..."));
        }
      }
      if (Contains(kReferences, attribute)) {
        for (absl::string_view id : absl::StrSplit(value, ' ')) {
          references_.insert(std::string(id));
        }
      }
    }
    if (name == "img") {
      const auto alt = attributes.find("alt");
      if (alt == attributes.end() || alt->second.empty()) {
        return Error("found <img> without alt");
      }
      const auto src = attributes.find("src");
      if (src == attributes.end() ||
          !absl::StartsWith(src->second, "data:image/png;base64,")) {
        return Error("found <img> without a PNG data URI");
      }
      ++summary_.num_images;
    }
    return absl::OkStatus();
  }

  absl::string_view html_;
  size_t at_ = 0;
  std::vector<std::string> open_;
  std::set<std::string> ids_;
  std::set<std::string> references_;
  HtmlSummary summary_;
};

}  // namespace

absl::StatusOr<HtmlSummary> CheckHtml(absl::string_view html) {
  return Checker(html).Run();
}

}  // namespace influence
