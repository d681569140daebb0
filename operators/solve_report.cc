// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/solve_report.h"

#include <cstddef>

namespace influence {

absl::string_view SolveOutcomeName(SolveOutcome outcome) {
  switch (outcome) {
    case SolveOutcome::kConverged:
      return "converged";
    case SolveOutcome::kIterationLimit:
      return "iteration_limit";
    case SolveOutcome::kStagnated:
      return "stagnated";
    case SolveOutcome::kNegativeCurvature:
      return "negative_curvature";
    case SolveOutcome::kDiverged:
      return "diverged";
  }
  return "unknown";
}

std::vector<int64_t> RowsWithoutAnswer(
    const std::vector<SolveReport>& reports) {
  std::vector<int64_t> rows;
  for (size_t i = 0; i < reports.size(); ++i) {
    if (!reports[i].has_answer()) rows.push_back(static_cast<int64_t>(i));
  }
  return rows;
}

}  // namespace influence
