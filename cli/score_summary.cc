// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/score_summary.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/validators.h"
#include "cli/options.h"
#include "cli/terminal_progress.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "influence/composable_influence.h"
#include "influence/influence_mode.h"
#include "nlohmann/json.hpp"
#include "operators/curvature.h"

namespace influence {
namespace {

using Json = nlohmann::ordered_json;

// More blocks than this are summed up in the text.
constexpr size_t kMaxListedBlocks = 8;

std::string QueryName(const PerSampleFunction& query_function) {
  return query_function.higher_is_better() ? query_function.name() : "loss";
}

// "0.00123", or "fc1 0.001, fc2 0.002", or "0.001 to 0.2 (12 blocks)".
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

}  // namespace

ScoreSign SignOfScores(InfluenceMode mode, Units units,
                       const PerSampleFunction& query_function) {
  const std::string query = QueryName(query_function);
  const bool lower_is_better = !query_function.higher_is_better();
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

double UnitsFactor(InfluenceMode mode, Units units,
                   int64_t num_fitted_samples) {
  if (units == Units::kRaw) return 1;
  const double share = 1.0 / static_cast<double>(num_fitted_samples);
  return mode == InfluenceMode::kUp ? share : -share;
}

std::vector<std::string> SummaryLines(const ScoresOptions& options,
                                      const ScoreSummary& summary) {
  const ScoreSign sign =
      SignOfScores(options.mode, options.units, options.query_function);
  std::vector<std::string> lines;
  lines.push_back(absl::StrCat(options.out, ": ", DtypeName(options.dtype),
                               " [", absl::StrJoin(summary.shape, ", "),
                               "], mode ", InfluenceModeName(options.mode),
                               ", units ", UnitsName(options.units), ", ",
                               DurationText(absl::Seconds(summary.seconds))));
  lines.push_back(absl::StrCat("sign: ", sign.meaning));
  std::string method = absl::StrCat("method ", MethodName(options.method));
  if (options.method != Method::kIdentity) {
    absl::StrAppend(&method, ", ", CurvatureName(options.curvature),
                    ", block structure ",
                    BlockStructureName(options.block_structure),
                    ", regularization ", RegularizationText(summary.blocks),
                    options.regularization.is_auto() ? " (auto)" : "");
  }
  lines.push_back(absl::StrCat(method, "; N = ", summary.num_fitted_samples,
                               " samples, P = ", summary.num_parameters));
  std::vector<std::string> indefinite;
  for (const BlockReport& block : summary.blocks) {
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
  return lines;
}

std::string SummaryJson(const ScoresOptions& options,
                        const ScoreSummary& summary) {
  const ScoreSign sign =
      SignOfScores(options.mode, options.units, options.query_function);
  const bool has_curvature = options.method != Method::kIdentity;
  Json json;
  json["out"] = options.out;
  json["shape"] = summary.shape;
  json["dtype"] = DtypeName(options.dtype);
  json["mode"] = std::string(InfluenceModeName(options.mode));
  json["units"] = std::string(UnitsName(options.units));
  json["sign"] = absl::StrCat(sign.helps, "_helps");
  json["sign_meaning"] = sign.meaning;
  json["method"] = std::string(MethodName(options.method));
  json["second_order"] =
      has_curvature ? Json(std::string(CurvatureName(options.curvature)))
                    : Json(nullptr);
  json["block_structure"] =
      std::string(BlockStructureName(options.block_structure));
  json["loss"] = options.loss.name();
  json["query_function"] = QueryName(options.query_function);
  json["num_parameters"] = summary.num_parameters;
  json["num_fitted_samples"] = summary.num_fitted_samples;
  json["num_train"] = summary.shape[1];
  json["num_test"] = summary.shape[0];
  json["regularization"] =
      has_curvature ? Json(options.regularization.ToString()) : Json(nullptr);
  json["blocks"] = Json::array();
  for (const BlockReport& block : summary.blocks) {
    Json entry;
    entry["name"] = block.block;
    entry["num_parameters"] = block.size;
    entry["regularization"] = block.regularization.has_value()
                                  ? Json(*block.regularization)
                                  : Json(nullptr);
    entry["smallest_eigenvalue"] = block.smallest_eigenvalue.has_value()
                                       ? Json(*block.smallest_eigenvalue)
                                       : Json(nullptr);
    json["blocks"].push_back(entry);
  }
  json["covered_share"] = summary.covered_share;
  json["batch_size"] = summary.train_batch;
  json["passes"] = summary.passes;
  json["seconds"] = summary.seconds;
  json["model"] = options.model;
  json["train"] = options.train;
  json["test"] = options.test;
  // A path need not be UTF-8.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace influence
