// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/resume_guard.h"

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "calculators/zarr_store_writer.h"
#include "nlohmann/json.hpp"

namespace influence {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kNote[] = "run.json";
constexpr char kItems[] = "items";
constexpr char kPlan[] = "plan";
constexpr char kKind[] = "kind";
constexpr char kFingerprints[] = "fingerprints";
constexpr char kOptions[] = "options";

// Digits of a fingerprint that tell two apart for people.
constexpr size_t kShortFingerprint = 12;

const Json& Find(const Json& object, const std::string& key) {
  static const Json* const null = new Json;
  if (!object.is_object()) return *null;
  const auto found = object.find(key);
  return found == object.end() ? *null : *found;
}

std::string Text(const Json& value) {
  if (value.is_null()) return "nothing";
  if (value.is_string()) return value.get<std::string>();
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// "--score-tolerance"; the name of what no option decides.
std::string OptionName(absl::string_view item) {
  if (item == "blocks") return "--by-block";
  if (item == "versions") return "versions";
  return absl::StrCat("--", absl::StrReplaceAll(item, {{"_", "-"}}));
}

absl::Status CheckFiles(const std::string& where, const Json& earlier,
                        const RunItems& run) {
  const Json& wanted = Find(run.items, kFingerprints);
  for (const auto& [role, fingerprint] : wanted.items()) {
    const Json& there = Find(Find(earlier, kFingerprints), role);
    if (there == fingerprint) continue;
    std::string path = OptionName(role);
    for (const auto& [of_role, of_path] : run.paths) {
      if (of_role == role) path = of_path;
    }
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": found other contents (fingerprint ",
                     Text(fingerprint).substr(0, kShortFingerprint),
                     "), expected those that ", where, " was begun with (",
                     Text(there).substr(0, kShortFingerprint),
                     "); --overwrite in place of --resume starts anew"));
  }
  return absl::OkStatus();
}

// "1e-3" is "0.001", and "fc1=1e-3,fc2=1" is "fc1=0.001,fc2=1.0".
bool SameText(absl::string_view one, absl::string_view other) {
  const std::vector<absl::string_view> parts = absl::StrSplit(one, ',');
  const std::vector<absl::string_view> others = absl::StrSplit(other, ',');
  if (parts.size() != others.size()) return false;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i] == others[i]) continue;
    // Behind the last '=', or the whole where there is none.
    const size_t begin = parts[i].rfind('=') + 1;
    double number = 0, other_number = 0;
    if (parts[i].substr(0, begin) != others[i].substr(0, begin) ||
        !absl::SimpleAtod(parts[i].substr(begin), &number) ||
        !absl::SimpleAtod(others[i].substr(begin), &other_number) ||
        number != other_number) {
      return false;
    }
  }
  return true;
}

// As typed, options may be written differently and mean the same.
bool SameValue(const Json& one, const Json& other) {
  return one == other || (one.is_string() && other.is_string() &&
                          SameText(one.get_ref<const std::string&>(),
                                   other.get_ref<const std::string&>()));
}

absl::Status CheckOption(const std::string& where, const std::string& item,
                         const Json& there, const Json& wanted) {
  if (SameValue(there, wanted)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(OptionName(item), ": found ", Text(wanted), ", expected ",
                   Text(there), ", with which ", where,
                   " was begun; --overwrite in place of --resume starts anew"));
}

}  // namespace

absl::Status CheckSameRun(const std::string& where, const Json& earlier,
                          const RunItems& run) {
  if (const Json& kind = Find(earlier, kKind); kind != Find(run.items, kKind)) {
    return absl::FailedPreconditionError(
        absl::StrCat(where, ": found what makes ", Text(kind), ", expected ",
                     Text(Find(run.items, kKind)), " to go on with"));
  }
  INFLUENCE_RETURN_IF_ERROR(CheckFiles(where, earlier, run));
  // The method comes before its options, which depend on it.
  for (const auto& [item, wanted] : run.items.items()) {
    if (item == kKind || item == kFingerprints) continue;
    const Json& there = Find(earlier, item);
    if (item != kOptions) {
      INFLUENCE_RETURN_IF_ERROR(CheckOption(where, item, there, wanted));
      continue;
    }
    std::set<std::string> names;
    for (const auto& [name, value] : wanted.items()) names.insert(name);
    if (there.is_object()) {
      for (const auto& [name, value] : there.items()) names.insert(name);
    }
    for (const std::string& name : names) {
      INFLUENCE_RETURN_IF_ERROR(
          CheckOption(where, name, Find(there, name), Find(wanted, name)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Json> AgreeOnPlan(
    ZarrStoreWriter& store, const RunItems& run,
    absl::FunctionRef<absl::StatusOr<Json>()> make_plan) {
  INFLUENCE_ASSIGN_OR_RETURN(std::optional<std::string> note,
                             store.ReadNote(kNote));
  if (!note.has_value()) {
    INFLUENCE_ASSIGN_OR_RETURN(Json plan, make_plan());
    const absl::Status status = store.WriteNote(
        kNote, Json({{kItems, run.items}, {kPlan, plan}}).dump(2) + "\n",
        /*replace=*/false);
    if (status.ok()) return plan;
    if (status.code() != absl::StatusCode::kAlreadyExists) return status;
    INFLUENCE_ASSIGN_OR_RETURN(note, store.ReadNote(kNote));
  }
  const Json there =
      note.has_value() ? Json::parse(*note, nullptr, /*allow_exceptions=*/false)
                       : Json();
  if (!Find(there, kItems).is_object() || !Find(there, kPlan).is_object()) {
    return absl::DataLossError(absl::StrCat(
        store.folder(), "/.run/", kNote,
        ": found damaged data, expected what the unfinished run has noted; "
        "--overwrite in place of --resume starts anew"));
  }
  INFLUENCE_RETURN_IF_ERROR(
      CheckSameRun(store.folder(), Find(there, kItems), run));
  return Find(there, kPlan);
}

}  // namespace influence
