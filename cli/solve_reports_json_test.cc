// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/solve_reports_json.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "influence/prepared_queries.h"
#include "nlohmann/json.hpp"
#include "operators/solve_report.h"

namespace influence {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(SolveReportsJsonTest, ReadsBackWhatItWrote) {
  const double residual = std::nextafter(3e-6, 1);
  const std::vector<BlockSolveReports> reports = {
      {"z", {{SolveOutcome::kConverged, 12, residual}}},
      {"a",
       {{SolveOutcome::kDiverged, 7, std::numeric_limits<double>::infinity()},
        {SolveOutcome::kNegativeCurvature, 0, 1}}}};
  const std::string text = SolveReportsJson(reports).dump();
  const std::vector<BlockSolveReports> read =
      ParseSolveReports(nlohmann::ordered_json::parse(text));
  ASSERT_EQ(read.size(), 2);
  EXPECT_EQ(read[0].block, "z");  // The order of the blocks is theirs.
  ASSERT_EQ(read[0].reports.size(), 1);
  EXPECT_EQ(read[0].reports[0].outcome, SolveOutcome::kConverged);
  EXPECT_EQ(read[0].reports[0].iterations, 12);
  EXPECT_EQ(read[0].reports[0].relative_residual, residual);
  ASSERT_EQ(read[1].reports.size(), 2);
  EXPECT_EQ(read[1].reports[0].outcome, SolveOutcome::kDiverged);
  EXPECT_TRUE(std::isnan(read[1].reports[0].relative_residual));
  EXPECT_EQ(read[1].reports[1].outcome, SolveOutcome::kNegativeCurvature);
  EXPECT_EQ(SolveReportsJson(read).dump(), text);
}

TEST(SolveReportsJsonTest, TakesFromADamagedOneWhatCanBeRead) {
  EXPECT_THAT(ParseSolveReports(nlohmann::ordered_json::array()), IsEmpty());
  const std::vector<BlockSolveReports> read =
      ParseSolveReports(nlohmann::ordered_json::parse(
          R"({"a": 3, "b": {"outcomes": ["odd", "stagnated"],
              "iterations": [1, 2, 3], "relative_residuals": [0.5, 0.25]}})"));
  ASSERT_EQ(read.size(), 1);
  ASSERT_EQ(read[0].reports.size(), 2);
  EXPECT_EQ(read[0].reports[0].outcome, SolveOutcome::kDiverged);
  EXPECT_EQ(read[0].reports[1].outcome, SolveOutcome::kStagnated);
}

TEST(SolveReportsJsonTest, ReportsOfFurtherQueriesFollowBlockByBlock) {
  std::vector<BlockSolveReports> reports;
  AppendReports({{"a", {{SolveOutcome::kConverged, 1, 0}}},
                 {"b", {{SolveOutcome::kConverged, 2, 0}}}},
                reports);
  AppendReports({{"a", {{SolveOutcome::kConverged, 3, 0}}},
                 {"b", {{SolveOutcome::kConverged, 4, 0}}}},
                reports);
  ASSERT_EQ(reports.size(), 2);
  std::vector<int64_t> iterations;
  for (const BlockSolveReports& of_block : reports) {
    for (const SolveReport& report : of_block.reports) {
      iterations.push_back(report.iterations);
    }
  }
  EXPECT_EQ(reports[0].block, "a");
  EXPECT_THAT(iterations, ElementsAre(1, 3, 2, 4));
}

}  // namespace
}  // namespace influence
