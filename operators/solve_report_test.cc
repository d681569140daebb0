// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/solve_report.h"

#include "gtest/gtest.h"

namespace influence {
namespace {

TEST(SolveReportTest, OutcomesHaveTheNamesThatResultsRecord) {
  EXPECT_EQ(SolveOutcomeName(SolveOutcome::kConverged), "converged");
  EXPECT_EQ(SolveOutcomeName(SolveOutcome::kIterationLimit), "iteration_limit");
  EXPECT_EQ(SolveOutcomeName(SolveOutcome::kStagnated), "stagnated");
  EXPECT_EQ(SolveOutcomeName(SolveOutcome::kNegativeCurvature),
            "negative_curvature");
  EXPECT_EQ(SolveOutcomeName(SolveOutcome::kDiverged), "diverged");
}

}  // namespace
}  // namespace influence
