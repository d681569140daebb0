// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/result_summary.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/validators.h"
#include "cli/byte_text.h"
#include "cli/options.h"
#include "cli/resume_guard.h"
#include "cli/solve_reports_json.h"
#include "cli/terminal_progress.h"
#include "cli/version.h"
#include "gradients/per_sample_function.h"
#include "influence/composable_influence.h"
#include "influence/influence_mode.h"
#include "influence/prepared_queries.h"
#include "nlohmann/json.hpp"
#include "operators/solve_report.h"
#include "torch/version.h"

namespace influence {
namespace {

using Json = nlohmann::ordered_json;

// More blocks than this are summed up in the text.
constexpr size_t kMaxListedBlocks = 8;
constexpr size_t kMaxListedQueries = 8;

// "0.00123", or "fc1 0.001, fc2 0.002", or "0.001 to 0.2 in 12 blocks".
std::string RegularizationText(const std::vector<BlockReport>& blocks) {
  std::vector<std::string> values;
  double least = 0, most = 0;
  for (const BlockReport& block : blocks) {
    const double value = block.regularization.value_or(0);
    least = values.empty() ? value : std::min(least, value);
    most = values.empty() ? value : std::max(most, value);
    values.push_back(absl::StrFormat("%s %.6g", block.block, value));
  }
  if (values.empty() || least == most) return absl::StrFormat("%.6g", most);
  if (values.size() <= kMaxListedBlocks) return absl::StrJoin(values, ", ");
  return absl::StrFormat("%.6g to %.6g in %d blocks", least, most,
                         values.size());
}

// "method cg, second order hessian, ...; N = 20 samples, P = 7"
std::string MethodLine(const FitSummary& fit) {
  std::string line = absl::StrCat("method ", fit.method);
  for (const auto& [name, value] : fit.options) {
    if (name == "regularization") {
      absl::StrAppend(&line, ", regularization ",
                      RegularizationText(fit.blocks),
                      value == "auto" ? " (auto)" : "");
    } else {
      absl::StrAppend(&line, ", ", absl::StrReplaceAll(name, {{"_", " "}}), " ",
                      value);
    }
  }
  absl::StrAppend(&line, "; N = ", fit.num_fitted_samples,
                  " samples, P = ", fit.num_parameters);
  return line;
}

void AddBlockLines(const FitSummary& fit, std::vector<std::string>& lines) {
  std::vector<std::string> indefinite;
  for (const BlockReport& block : fit.blocks) {
    if (!block.smallest_eigenvalue.has_value()) continue;
    indefinite.push_back(
        absl::StrFormat("%.6g (%s)", *block.smallest_eigenvalue, block.block));
  }
  if (!indefinite.empty()) {
    const size_t count = indefinite.size();
    indefinite.resize(std::min(count, kMaxListedBlocks));
    lines.push_back(absl::StrCat(
        "warning: the curvature plus regularization is indefinite in ", count,
        count == 1 ? " block" : " blocks", ", smallest eigenvalue ",
        absl::StrJoin(indefinite, ", "),
        count > indefinite.size() ? ", ..." : "",
        "; solved all the same, but the model is not at a minimum of its loss "
        "there (a larger --regularization or --second-order "
        "generalized_gauss_newton avoids it)"));
  }
  std::vector<std::string> remarks;
  for (const BlockReport& block : fit.blocks) {
    for (const std::string& remark : block.remarks) {
      remarks.push_back(absl::StrCat("block ", block.block, ": ", remark));
    }
  }
  const size_t count = remarks.size();
  remarks.resize(std::min(count, kMaxListedBlocks));
  lines.insert(lines.end(), remarks.begin(), remarks.end());
  if (count > remarks.size()) {
    lines.push_back(absl::StrCat("and ", count - remarks.size(),
                                 " more remarks on other blocks"));
  }
}

// How the right-hand sides were solved for, and a warning for those that were
// not.
void AddSolveLines(const std::vector<BlockSolveReports>& solves, bool is_self,
                   std::vector<std::string>& lines) {
  if (solves.empty()) return;
  std::map<SolveOutcome, int64_t> counts;
  int64_t total = 0;
  int64_t iterations = 0;
  double residual = 0;
  for (const BlockSolveReports& of_block : solves) {
    for (const SolveReport& report : of_block.reports) {
      ++total;
      ++counts[report.outcome];
      iterations = std::max(iterations, report.iterations);
      // A residual that is not a number is the largest of all.
      if (!(report.relative_residual <= residual)) {
        residual = report.relative_residual;
      }
    }
  }
  std::vector<std::string> parts;
  parts.reserve(counts.size());
  for (const auto& [outcome, count] : counts) {
    parts.push_back(absl::StrCat(
        count, " ",
        absl::StrReplaceAll(SolveOutcomeName(outcome), {{"_", " "}})));
  }
  lines.push_back(absl::StrFormat(
      "solves: %d right-hand sides: %s; at most %d iterations, largest "
      "relative residual %.3g",
      total, absl::StrJoin(parts, ", "), iterations, residual));
  const int64_t negative = counts[SolveOutcome::kNegativeCurvature];
  if (negative > 0) {
    lines.push_back(absl::StrCat(
        "warning: ", negative, " of ", total,
        " right-hand sides met negative curvature, where conjugate gradients "
        "end before their tolerance: the last iterates stand (a larger "
        "--regularization, --second-order generalized_gauss_newton or --method "
        "direct avoids it)"));
  }
  const int64_t diverged = counts[SolveOutcome::kDiverged];
  if (diverged > 0) {
    lines.push_back(absl::StrCat(
        "warning: ", diverged, " of ", total,
        " right-hand sides diverged (a larger --scale or --regularization "
        "avoids it)"));
  }
  if (const std::vector<int64_t> failed = QueriesWithoutAnswer(solves);
      !failed.empty()) {
    const auto num_queries = std::max_element(
        solves.begin(), solves.end(),
        [](const BlockSolveReports& a, const BlockSolveReports& b) {
          return a.reports.size() < b.reports.size();
        });
    const size_t listed = std::min(failed.size(), kMaxListedQueries);
    lines.push_back(absl::StrCat(
        "warning: no answer for ", failed.size(), " of ",
        num_queries->reports.size(), is_self ? " samples: " : " queries: ",
        absl::StrJoin(failed.begin(), failed.begin() + listed, ", "),
        failed.size() > listed ? ", ..." : "",
        "; the result has NaN there, which ranks nothing"));
  }
  const int64_t unfinished =
      counts[SolveOutcome::kIterationLimit] + counts[SolveOutcome::kStagnated];
  if (unfinished > 0) {
    lines.push_back(absl::StrCat(
        "warning: ", unfinished, " of ", total,
        " right-hand sides missed their tolerance (a larger --max-iterations, "
        "--regularization or --tolerance, or --dtype float64, avoids it)"));
  }
}

Json BlocksJson(const std::vector<BlockReport>& blocks) {
  Json json = Json::array();
  for (const BlockReport& block : blocks) {
    Json entry;
    entry["name"] = block.block;
    entry["num_parameters"] = block.size;
    entry["regularization"] = block.regularization.has_value()
                                  ? Json(*block.regularization)
                                  : Json(nullptr);
    entry["smallest_eigenvalue"] = block.smallest_eigenvalue.has_value()
                                       ? Json(*block.smallest_eigenvalue)
                                       : Json(nullptr);
    entry["remarks"] = block.remarks;
    json.push_back(entry);
  }
  return json;
}

// What both kinds of JSON begin with.
Json SharedJson(const ResultSummary& summary) {
  const FitSummary& fit = summary.fit;
  Json json;
  json["kind"] = summary.kind;
  if (!summary.shape.empty()) json["shape"] = summary.shape;
  json["dtype"] = DtypeName(fit.dtype);
  if (summary.mode.has_value()) {
    const ScoreSign sign =
        SignOfScores(*summary.mode, summary.units, summary.query);
    json["mode"] = std::string(InfluenceModeName(*summary.mode));
    json["units"] = std::string(UnitsName(summary.units));
    json["sign"] = absl::StrCat(sign.helps, "_helps");
    json["sign_meaning"] = sign.meaning;
  }
  json["method"] = fit.method;
  json["options"] = fit.options;
  json["seed"] = fit.seed;
  json["loss"] = fit.loss;
  if (!summary.query.empty()) json["query_function"] = summary.query;
  const bool top_k = summary.kind == "top_k";
  if (summary.kind == "scores" || top_k) {
    json["score_tolerance"] = summary.score_tolerance;
  }
  json["num_parameters"] = fit.num_parameters;
  json["num_fitted_samples"] = fit.num_fitted_samples;
  if (summary.kind == "scores") {
    json["num_test"] = summary.shape[0];
    json["num_train"] = summary.shape[1];
  } else if (top_k) {
    json["num_test"] = summary.shape[0];
    json["num_train"] = summary.num_train;
    json["top_k"] = summary.shape[1];
  } else if (summary.kind == "factors") {
    json["num_test"] = summary.shape[0];
  } else if (summary.kind == "self") {
    json["num_train"] = summary.shape[0];
  }
  return json;
}

}  // namespace

ScoreSign SignOfScores(InfluenceMode mode, Units units,
                       absl::string_view query) {
  const bool lower_is_better = query == "loss";
  if (mode == InfluenceMode::kUp) {
    // Of either sign of units: S / N is the change when j is removed.
    return {lower_is_better ? "positive" : "negative",
            absl::StrCat("positive: without the training sample the query's ",
                         query, " would be higher, so the sample ",
                         lower_is_better ? "helps" : "harms")};
  }
  const bool raw = units == Units::kRaw;
  return {raw == lower_is_better ? "positive" : "negative",
          absl::StrCat("positive: a larger input value ",
                       raw ? "lowers" : "raises", " the query's ", query)};
}

std::string QueryName(const PerSampleFunction& query_function) {
  return query_function.higher_is_better() ? query_function.name() : "loss";
}

double UnitsFactor(InfluenceMode mode, Units units,
                   int64_t num_fitted_samples) {
  if (units == Units::kRaw) return 1;
  const double share = 1.0 / static_cast<double>(num_fitted_samples);
  return mode == InfluenceMode::kUp ? share : -share;
}

std::vector<std::string> SummaryLines(const ResultSummary& summary) {
  std::vector<std::string> lines;
  std::string first = absl::StrCat(summary.out, ": ");
  if (summary.shard.has_value()) {
    absl::StrAppend(&first, "shard ", summary.shard->index, "/",
                    summary.shard->count, " is done, ",
                    summary.complete ? "and all others: "
                                     : "tiles of others are missing: ");
  }
  if (summary.shape.empty()) {
    absl::StrAppend(&first, summary.kind);
  } else if (summary.kind == "top_k") {
    absl::StrAppend(&first, "the ", summary.shape[1],
                    " most helpful and harmful of ", summary.num_train,
                    " training samples for each of ", summary.shape[0],
                    " queries, ", DtypeName(summary.fit.dtype));
  } else {
    absl::StrAppend(&first, DtypeName(summary.fit.dtype), " [",
                    absl::StrJoin(summary.shape, ", "), "]");
    if (summary.arrays.size() > 1) {
      absl::StrAppend(&first, " in each of ", summary.arrays.size(), " arrays");
    }
  }
  if (summary.mode.has_value()) {
    absl::StrAppend(&first, ", mode ", InfluenceModeName(*summary.mode),
                    ", units ", UnitsName(summary.units));
  }
  lines.push_back(absl::StrCat(
      first, ", ", DurationText(absl::Seconds(summary.seconds)),
      summary.peak_memory_bytes.has_value()
          ? absl::StrCat(", peak memory ", BytesText(static_cast<double>(
                                               *summary.peak_memory_bytes)))
          : ""));
  if (summary.mode.has_value()) {
    lines.push_back(absl::StrCat(
        "sign: ",
        SignOfScores(*summary.mode, summary.units, summary.query).meaning));
  }
  lines.push_back(MethodLine(summary.fit));
  AddBlockLines(summary.fit, lines);
  AddSolveLines(summary.solves, summary.kind == "self", lines);
  return lines;
}

std::string SummaryJson(const ResultSummary& summary) {
  Json json;
  json["out"] = summary.out;
  json.update(SharedJson(summary));
  if (!summary.arrays.empty()) json["arrays"] = summary.arrays;
  json["blocks"] = BlocksJson(summary.fit.blocks);
  if (!summary.solves.empty()) {
    json["solves"] = SolveReportsJson(summary.solves);
    json["without_answer"] = QueriesWithoutAnswer(summary.solves);
  }
  json["covered_share"] = summary.fit.covered_share;
  if (summary.shard.has_value()) {
    json["shard"] =
        absl::StrCat(summary.shard->index, "/", summary.shard->count);
    json["complete"] = summary.complete;
  }
  json["batch_size"] = summary.batch_size;
  if (summary.kind == "scores" || summary.kind == "top_k") {
    json["passes"] = summary.passes;
  }
  json["seconds"] = summary.seconds;
  if (!summary.plan.empty()) json["plan"] = summary.plan;
  if (summary.peak_memory_bytes.has_value()) {
    json["peak_memory_bytes"] = *summary.peak_memory_bytes;
  }
  for (const auto& [role, path] : summary.paths) json[role] = path;
  // A path need not be UTF-8.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json ResultAttributes(const ResultSummary& summary) {
  Json json = SharedJson(summary);
  json["fitted_blocks"] = BlocksJson(summary.fit.blocks);
  Json regularization = Json::object();
  for (const BlockReport& block : summary.fit.blocks) {
    if (block.regularization.has_value()) {
      regularization[block.block] = *block.regularization;
    }
  }
  json["regularization"] = regularization;
  if (!summary.array_blocks.empty()) json["blocks"] = summary.array_blocks;
  if (!summary.solves.empty()) {
    json["solves"] = SolveReportsJson(summary.solves);
    json["without_answer"] = QueriesWithoutAnswer(summary.solves);
  }
  json["fingerprints"] = Json::object();
  for (const auto& [role, fingerprint] : summary.fingerprints) {
    json["fingerprints"][role] = fingerprint;
  }
  json["versions"] = LibraryVersions();
  if (!summary.plan.empty()) json["plan"] = summary.plan;
  json["covered_share"] = summary.fit.covered_share;
  json["seconds"] = summary.seconds;
  if (summary.peak_memory_bytes.has_value()) {
    json["peak_memory_bytes"] = *summary.peak_memory_bytes;
  }
  return json;
}

RunItems RunItemsOf(const ResultSummary& summary) {
  // Names and values are those of ResultAttributes().
  const Json attributes = ResultAttributes(summary);
  RunItems run;
  for (const char* item :
       {"kind", "dtype", "mode", "units", "method", "options", "seed", "loss",
        "query_function", "score_tolerance", "top_k", "blocks", "fingerprints",
        "versions"}) {
    const auto found = attributes.find(item);
    run.items[item] = found == attributes.end() ? Json(nullptr) : *found;
  }
  run.paths = summary.paths;
  return run;
}

Json LibraryVersions() {
  return {{"influence", std::string(kVersion)}, {"libtorch", TORCH_VERSION}};
}

}  // namespace influence
