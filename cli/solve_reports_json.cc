// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/solve_reports_json.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/missing_rows.h"
#include "influence/prepared_queries.h"
#include "nlohmann/json.hpp"
#include "operators/solve_report.h"

namespace influence {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kOutcomes[] = "outcomes";
constexpr char kIterations[] = "iterations";
constexpr char kResiduals[] = "relative_residuals";

std::optional<SolveOutcome> OutcomeByName(absl::string_view name) {
  for (const SolveOutcome outcome :
       {SolveOutcome::kConverged, SolveOutcome::kIterationLimit,
        SolveOutcome::kStagnated, SolveOutcome::kNegativeCurvature,
        SolveOutcome::kDiverged}) {
    if (SolveOutcomeName(outcome) == name) return outcome;
  }
  return std::nullopt;
}

}  // namespace

Json SolveReportsJson(const std::vector<BlockSolveReports>& reports) {
  Json json = Json::object();
  for (const BlockSolveReports& of_block : reports) {
    Json outcomes = Json::array();
    Json iterations = Json::array();
    Json residuals = Json::array();
    for (const SolveReport& report : of_block.reports) {
      outcomes.push_back(std::string(SolveOutcomeName(report.outcome)));
      iterations.push_back(report.iterations);
      residuals.push_back(report.relative_residual);
    }
    json[of_block.block] = {{kOutcomes, outcomes},
                            {kIterations, iterations},
                            {kResiduals, residuals}};
  }
  return json;
}

std::vector<BlockSolveReports> ParseSolveReports(const Json& json) {
  std::vector<BlockSolveReports> reports;
  if (!json.is_object()) return reports;
  for (const auto& [block, entry] : json.items()) {
    if (!entry.is_object()) continue;
    BlockSolveReports of_block{block, {}};
    const Json outcomes = entry.value(kOutcomes, Json());
    const Json iterations = entry.value(kIterations, Json());
    const Json residuals = entry.value(kResiduals, Json());
    const size_t count =
        std::min({outcomes.size(), iterations.size(), residuals.size()});
    for (size_t i = 0; i < count; ++i) {
      SolveReport report;
      if (outcomes[i].is_string()) {
        report.outcome = OutcomeByName(outcomes[i].get<std::string>())
                             .value_or(SolveOutcome::kDiverged);
      }
      if (iterations[i].is_number_integer()) {
        report.iterations = iterations[i].get<int64_t>();
      }
      report.relative_residual = residuals[i].is_number()
                                     ? residuals[i].get<double>()
                                     : std::numeric_limits<double>::quiet_NaN();
      of_block.reports.push_back(std::move(report));
    }
    reports.push_back(std::move(of_block));
  }
  return reports;
}

std::vector<int64_t> QueriesWithoutAnswer(
    const std::vector<BlockSolveReports>& reports) {
  std::vector<int64_t> missing;
  for (const BlockSolveReports& of_block : reports) {
    missing = UnionOfRows(missing, RowsWithoutAnswer(of_block.reports));
  }
  return missing;
}

void AppendReports(const std::vector<BlockSolveReports>& more,
                   std::vector<BlockSolveReports>& reports) {
  for (const BlockSolveReports& of_block : more) {
    auto found = std::find_if(
        reports.begin(), reports.end(),
        [&](const BlockSolveReports& r) { return r.block == of_block.block; });
    if (found == reports.end()) {
      reports.push_back(of_block);
      continue;
    }
    found->reports.insert(found->reports.end(), of_block.reports.begin(),
                          of_block.reports.end());
  }
}

}  // namespace influence
