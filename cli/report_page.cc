// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/report_page.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "cli/byte_text.h"
#include "cli/histogram.h"
#include "cli/html_text.h"
#include "cli/png_image.h"
#include "cli/report_style.h"
#include "cli/terminal_progress.h"
#include "cli/version.h"
#include "nlohmann/json.hpp"

namespace influence {
namespace {

using Json = nlohmann::ordered_json;
using Facts = std::vector<std::pair<std::string, std::string>>;

// More blocks than this are summed up; more queries are not linked to.
constexpr size_t kMaxListedBlocks = 8;
constexpr size_t kMaxLinks = 100;

// "0.00123", "-1.2e-05" with a true minus sign, "+3.1".
std::string ScoreText(double score) {
  std::string size = absl::StrFormat("%.4g", std::abs(score));
  if (score == 0) return size;
  return absl::StrCat(score < 0 ? "\u2212" : "+", size);
}

// What `json` holds under a key, or null.
const Json& At(const Json& json, const std::string& key) {
  static const Json* const null = new Json(nullptr);
  if (!json.is_object()) return *null;
  const auto found = json.find(key);
  return found == json.end() ? *null : *found;
}

// A text or a number as people read it; empty if it is neither.
std::string TextOf(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return absl::StrCat(value.get<int64_t>());
  if (value.is_number()) return absl::StrFormat("%.6g", value.get<double>());
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  return "";
}

std::string CountOf(const Json& value) {
  if (!value.is_number_integer() || value.get<int64_t>() < 0) return "";
  return CountText(value.get<int64_t>());
}

std::string Spaced(absl::string_view name) {
  return absl::StrReplaceAll(name, {{"_", " "}});
}

// "full 0.001", "fc1 0.5, fc2 0.25", "0.5 to 11.5 in 12 blocks".
std::string RegularizationFact(const Json& attributes) {
  const Json& by_block = At(attributes, "regularization");
  if (!by_block.is_object() || by_block.empty()) return "";
  std::vector<std::string> texts;
  double least = INFINITY;
  double most = -INFINITY;
  for (const auto& [block, value] : by_block.items()) {
    if (!value.is_number()) continue;
    least = std::min(least, value.get<double>());
    most = std::max(most, value.get<double>());
    texts.push_back(absl::StrFormat("%s %.6g", block, value.get<double>()));
  }
  if (texts.empty()) return "";
  std::string text;
  if (least == most) {
    text = absl::StrFormat("%.6g", most);
  } else if (texts.size() <= kMaxListedBlocks) {
    text = absl::StrJoin(texts, ", ");
  } else {
    text =
        absl::StrFormat("%.6g to %.6g in %d blocks", least, most, texts.size());
  }
  const bool automatic =
      TextOf(At(At(attributes, "options"), "regularization")) == "auto";
  return absl::StrCat(text, automatic ? " (chosen automatically)" : "");
}

// "block structure full, rank 10": all options but the regularization.
std::string OptionsFact(const Json& attributes) {
  const Json& options = At(attributes, "options");
  if (!options.is_object()) return "";
  std::vector<std::string> texts;
  for (const auto& [name, value] : options.items()) {
    if (name == "regularization") continue;
    texts.push_back(absl::StrCat(Spaced(name), " ", Spaced(TextOf(value))));
  }
  return absl::StrJoin(texts, ", ");
}

// "295 converged, 2 negative curvature".
std::string SolvesFact(const Json& attributes) {
  const Json& solves = At(attributes, "solves");
  if (!solves.is_object()) return "";
  std::map<std::string, int64_t> counts;
  for (const auto& [block, entry] : solves.items()) {
    const Json& outcomes = At(entry, "outcomes");
    if (!outcomes.is_array()) continue;
    for (const Json& outcome : outcomes) ++counts[Spaced(TextOf(outcome))];
  }
  std::vector<std::string> texts;
  texts.reserve(counts.size());
  for (const auto& [outcome, count] : counts) {
    texts.push_back(absl::StrCat(count, " ", outcome));
  }
  return absl::StrJoin(texts, ", ");
}

std::string RemarksFact(const Json& attributes) {
  const Json& blocks = At(attributes, "fitted_blocks");
  if (!blocks.is_array()) return "";
  std::vector<std::string> texts;
  size_t count = 0;
  for (const Json& block : blocks) {
    const Json& remarks = At(block, "remarks");
    if (!remarks.is_array()) continue;
    for (const Json& remark : remarks) {
      if (++count > kMaxListedBlocks) continue;
      texts.push_back(
          absl::StrCat(TextOf(At(block, "name")), ": ", TextOf(remark)));
    }
  }
  if (count > texts.size()) texts.emplace_back("...");
  return absl::StrJoin(texts, "; ");
}

// The smallest eigenvalue of an indefinite block, of all the smallest.
std::string IndefiniteFact(const Json& attributes) {
  const Json& blocks = At(attributes, "fitted_blocks");
  if (!blocks.is_array()) return "";
  int64_t count = 0;
  double smallest = 0;
  for (const Json& block : blocks) {
    const Json& value = At(block, "smallest_eigenvalue");
    if (!value.is_number()) continue;
    ++count;
    smallest = std::min(smallest, value.get<double>());
  }
  if (count == 0) return "";
  return absl::StrFormat(
      "indefinite in %d of %d blocks, smallest eigenvalue %.4g: the model is "
      "not at a minimum of its loss there, and the scores are those of a "
      "saddle",
      count, blocks.size(), smallest);
}

std::string PairsFact(const Json& object) {
  if (!object.is_object()) return "";
  std::vector<std::string> texts;
  for (const auto& [name, value] : object.items()) {
    const std::string text = TextOf(value);
    if (!text.empty()) texts.push_back(absl::StrCat(Spaced(name), " ", text));
  }
  return absl::StrJoin(texts, ", ");
}

class Writer {
 public:
  explicit Writer(const ReportPage& page) : page_(page) {}

  absl::StatusOr<std::string> Render() {
    absl::StrAppend(
        &html_,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n"
        "<meta charset=\"utf-8\"/>\n"
        // Whatever this page held, a browser would load nothing.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src "
        "&#39;none&#39;; img-src data:; style-src &#39;unsafe-inline&#39;\"/>\n"
        "<meta name=\"viewport\" content=\"width=device-width, "
        "initial-scale=1\"/>\n<title>Influence of ",
        EscapeHtml(page_.train), " on ", EscapeHtml(page_.test),
        "</title>\n<style>", kScoresPageStyle, "</style>\n</head>\n");
    absl::StrAppend(&html_, "<body class=\"",
                    page_.positive_helps ? "positive" : "negative", "\">\n");
    AddHeader();
    html_ += "<main>\n";
    AddDistribution();
    AddQueriesHeading();
    for (size_t i = 0; i < page_.queries.size(); ++i) {
      INFLUENCE_RETURN_IF_ERROR(AddQuery(page_.queries[i]));
    }
    html_ += "</section>\n";
    AddFacts();
    absl::StrAppend(&html_, "</main>\n<footer>Written by influence report ",
                    EscapeHtml(kVersion), " from <code>",
                    EscapeHtml(page_.scores),
                    "</code>. The page needs no network.</footer>\n</body>\n"
                    "</html>\n");
    return std::move(html_);
  }

 private:
  size_t NumShown() const { return page_.queries.size(); }

  size_t SamplesEach() const {
    return page_.queries.empty() ? 0 : page_.queries[0].helpful.size();
  }

  std::string QueriesText() const {
    const auto shown = static_cast<int64_t>(NumShown());
    if (shown == page_.num_queries) {
      return shown == 1 ? "the one query"
                        : absl::StrCat("all ", CountText(shown), " queries");
    }
    return absl::StrCat("the first ", CountText(shown), " of ",
                        CountText(page_.num_queries), " queries");
  }

  void AddHeader() {
    absl::StrAppend(
        &html_,
        "<header>\n<h1>Which training samples helped, which harmed</h1>\n"
        "<p class=\"lead\">The influence of ",
        CountText(page_.num_train), " training samples (<code>",
        EscapeHtml(page_.train), "</code>) on ", QueriesText(), " (<code>",
        EscapeHtml(page_.test), "</code>).</p>\n<p><strong>Sign:</strong> ",
        EscapeHtml(page_.sign_meaning), ". Scores are in units <strong>",
        EscapeHtml(page_.units), "</strong>");
    if (page_.units == "raw") {
      html_ +=
          ": divided by the number of samples of the fit, a score is the "
          "first-order change when the training sample is left out";
    } else if (page_.units == "loss_change") {
      html_ +=
          ": a score is the first-order change when the training sample is "
          "left out";
    }
    html_ += ".</p>\n";
    const std::string indefinite = IndefiniteFact(page_.attributes);
    if (!indefinite.empty()) {
      absl::StrAppend(&html_, "<p class=\"warning\">The curvature is ",
                      EscapeHtml(indefinite), ".</p>\n");
    }
    html_ += "</header>\n";
  }

  // "62.0 % help, 38.0 % harm": of how many scores the sign says that the
  // sample helps.
  std::string ShareText(const Histogram& histogram) const {
    const auto total =
        static_cast<double>(std::max<int64_t>(histogram.total(), 1));
    const double helps =
        static_cast<double>(page_.positive_helps ? histogram.num_above_zero()
                                                 : histogram.num_below_zero());
    const double harms =
        static_cast<double>(page_.positive_helps ? histogram.num_below_zero()
                                                 : histogram.num_above_zero());
    return absl::StrCat(PercentText(helps / total), " help, ",
                        PercentText(harms / total), " harm");
  }

  static std::string RangeText(const Histogram& histogram) {
    return absl::StrCat("from ", ScoreText(histogram.smallest()), " to ",
                        ScoreText(histogram.largest()));
  }

  void AddDistribution() {
    if (!page_.distribution.has_value()) return;
    const Histogram& histogram = *page_.distribution;
    const std::string what =
        page_.keeps_all
            ? absl::StrCat("all scores of ", QueriesText())
            : absl::StrCat("the ", CountText(page_.largest_k),
                           " most helpful and harmful scores, which is what "
                           "the store keeps, of ",
                           QueriesText());
    absl::StrAppend(
        &html_,
        "<section>\n<h2>Distribution of the scores</h2>\n"
        "<figure class=\"panel\">\n",
        RenderHistogram(
            histogram,
            {.id = "distribution",
             .description = absl::StrCat(
                 "Histogram of ", CountText(histogram.total()), " scores ",
                 RangeText(histogram), "; ", ShareText(histogram), "."),
             .x_title = absl::StrCat("score (", page_.units, ")")}),
        "<figcaption>", CountText(histogram.total()),
        " scores: ", EscapeHtml(what), "; ", ShareText(histogram),
        ". <span class=\"helps\">Green</span> helps, <span "
        "class=\"harms\">red</span> harms; counts are on a logarithmic "
        "scale.</figcaption>\n</figure>\n</section>\n");
  }

  void AddQueriesHeading() {
    absl::StrAppend(
        &html_, "<section>\n<h2>Queries</h2>\n<p>Shown are ", QueriesText(),
        " (option <code>--queries</code>), each with the ", SamplesEach(),
        " most helpful and the ", SamplesEach(),
        " most harmful training samples (option <code>--k</code>), strongest "
        "first.");
    if (!page_.pixels.empty()) {
      absl::StrAppend(&html_, " Images: ", EscapeHtml(page_.pixels), ".");
    }
    html_ += "</p>\n";
    if (NumShown() > 1 && NumShown() <= kMaxLinks) {
      html_ += "<nav aria-label=\"Queries\"><ul>\n";
      for (const PageQuery& query : page_.queries) {
        absl::StrAppend(&html_, "<li><a href=\"#query-", query.query.index,
                        "\">", query.query.index, "</a></li>\n");
      }
      html_ += "</ul></nav>\n";
    }
  }

  absl::Status AddImage(absl::string_view what, const PageSample& sample) {
    if (!sample.pixels.defined()) return absl::OkStatus();
    absl::StatusOr<std::string> uri = PngDataUri(sample.pixels);
    if (!uri.ok()) return absl::InternalError(uri.status().message());
    absl::StrAppend(&html_, "<img width=\"", sample.pixels.size(1),
                    "\" height=\"", sample.pixels.size(0), "\" alt=\"",
                    EscapeHtml(absl::StrCat(what, " ", sample.index, ", label ",
                                            sample.label)),
                    "\" src=\"", *uri, "\"/>");
    return absl::OkStatus();
  }

  absl::Status AddSamples(absl::string_view title, absl::string_view style,
                          const std::vector<PageScore>& scores) {
    double largest = 0;
    for (const PageScore& score : scores) {
      largest = std::max(largest, std::abs(score.score));
    }
    absl::StrAppend(&html_, "<h4 class=\"", style, "\">", title,
                    "</h4>\n<ol class=\"cards\">\n");
    for (const PageScore& score : scores) {
      html_ += "<li>";
      INFLUENCE_RETURN_IF_ERROR(AddImage("Training sample", score.train));
      // A sample may be among the most helpful and yet do harm.
      const bool helps = (score.score > 0) == page_.positive_helps;
      const char* const effect =
          score.score == 0 ? "soft" : (helps ? "helps" : "harms");
      const double share = largest > 0 ? std::abs(score.score) / largest : 0;
      absl::StrAppend(
          &html_, "label <b>", EscapeHtml(score.train.label),
          "</b> <span class=\"soft\">#", score.train.index,
          "</span><span class=\"score ", effect, "\">", ScoreText(score.score),
          "<span class=\"bar\" aria-hidden=\"true\"><span style=\"width:",
          absl::StrFormat("%.1f", 100 * share), "%\"></span></span></span>",
          "</li>\n");
    }
    html_ += "</ol>\n";
    return absl::OkStatus();
  }

  absl::Status AddQuery(const PageQuery& query) {
    const std::string id = absl::StrCat("query-", query.query.index);
    absl::StrAppend(&html_, "<article class=\"query\" id=\"", id,
                    "\" aria-labelledby=\"", id, "-heading\">\n<div>\n<div>",
                    "<h3 id=\"", id, "-heading\">Query ", query.query.index,
                    "</h3>\n");
    INFLUENCE_RETURN_IF_ERROR(AddImage("Query", query.query));
    absl::StrAppend(&html_, "label <b>", EscapeHtml(query.query.label),
                    "</b></div>\n");
    if (query.distribution.has_value()) {
      const Histogram& histogram = *query.distribution;
      absl::StrAppend(
          &html_, "<figure>\n",
          RenderHistogram(
              histogram,
              {.id = absl::StrCat(id, "-scores"),
               .description = absl::StrCat(
                   "Histogram of the scores of query ", query.query.index, " ",
                   RangeText(histogram), "; ", ShareText(histogram), "."),
               .x_title = "",
               .width = 240,
               .height = 70}),
          "<figcaption>", RangeText(histogram), "; ", ShareText(histogram),
          "</figcaption>\n</figure>\n");
    }
    html_ += "</div>\n<div>\n";
    if (query.has_answer) {
      INFLUENCE_RETURN_IF_ERROR(
          AddSamples("Most helpful", "helps", query.helpful));
      INFLUENCE_RETURN_IF_ERROR(
          AddSamples("Most harmful", "harms", query.harmful));
    } else {
      html_ +=
          "<p class=\"soft\">No answer: the solve for this query has failed, "
          "so it has no scores.</p>\n";
    }
    html_ += "</div>\n</article>\n";
    return absl::OkStatus();
  }

  void AddFact(absl::string_view name, absl::string_view value) {
    if (value.empty()) return;
    absl::StrAppend(&html_, "<dt>", EscapeHtml(name), "</dt><dd>",
                    EscapeHtml(value), "</dd>\n");
  }

  void AddFacts() {
    html_ += "<section>\n<h2>What was run</h2>\n<div class=\"panel\">\n<dl>\n";
    for (const auto& [name, value] : RunFacts(page_.attributes)) {
      AddFact(name, value);
    }
    AddFact("Scores", page_.scores);
    AddFact("Training data", page_.train);
    AddFact("Query data", page_.test);
    html_ += "</dl>\n</div>\n</section>\n";
  }

  const ReportPage& page_;
  std::string html_;
};

}  // namespace

Facts RunFacts(const Json& attributes) {
  Facts facts;
  const auto add = [&](const char* name, std::string value) {
    if (!value.empty()) facts.emplace_back(name, std::move(value));
  };
  const auto text = [&](const char* key) {
    return TextOf(At(attributes, key));
  };
  add("Method", text("method"));
  add("Options of the method", OptionsFact(attributes));
  add("Regularization", RegularizationFact(attributes));
  add("Curvature", IndefiniteFact(attributes));
  add("Remarks", RemarksFact(attributes));
  add("Solves", SolvesFact(attributes));
  add("Training loss", Spaced(text("loss")));
  add("Query function", text("query_function"));
  add("Mode", text("mode"));
  add("Units", text("units"));
  add("Sign", text("sign_meaning"));
  add("Parameters P", CountOf(At(attributes, "num_parameters")));
  const Json& covered = At(attributes, "covered_share");
  if (covered.is_number()) {
    add("Coverage", absl::StrCat(PercentText(covered.get<double>()),
                                 " of the parameters on the fast path"));
  }
  add("Samples of the fit", CountOf(At(attributes, "num_fitted_samples")));
  add("Training samples N", CountOf(At(attributes, "num_train")));
  add("Queries M", CountOf(At(attributes, "num_test")));
  add("Kept of each query", CountOf(At(attributes, "top_k")));
  add("Number type", text("dtype"));
  add("Seed", text("seed"));
  const Json& tolerance = At(attributes, "score_tolerance");
  if (tolerance.is_number() && tolerance.get<double>() > 0) {
    add("Score tolerance", TextOf(tolerance));
  }
  const Json& seconds = At(attributes, "seconds");
  if (seconds.is_number()) {
    add("Time", DurationText(absl::Seconds(seconds.get<double>())));
  }
  const Json& memory = At(attributes, "peak_memory_bytes");
  if (memory.is_number()) {
    add("Peak memory", BytesText(memory.get<double>()));
  }
  add("Plan", PairsFact(At(attributes, "plan")));
  const Json& fingerprints = At(attributes, "fingerprints");
  if (fingerprints.is_object()) {
    std::vector<std::string> texts;
    for (const auto& [role, fingerprint] : fingerprints.items()) {
      texts.push_back(
          absl::StrCat(role, " ", TextOf(fingerprint).substr(0, 12)));
    }
    add("Fingerprints (SHA-256)", absl::StrJoin(texts, ", "));
  }
  add("Versions", PairsFact(At(attributes, "versions")));
  return facts;
}

absl::StatusOr<std::string> RenderReportPage(const ReportPage& page) {
  return Writer(page).Render();
}

}  // namespace influence
