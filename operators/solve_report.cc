// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/solve_report.h"

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

}  // namespace influence
