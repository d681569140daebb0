// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// How the iterative solution of A x = b ended, for one right-hand side. To miss
// the tolerance is an outcome to be told, not an error.
#ifndef INFLUENCE_OPERATORS_SOLVE_REPORT_H_
#define INFLUENCE_OPERATORS_SOLVE_REPORT_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace influence {

enum class SolveOutcome {
  kConverged,          // The residual is within the tolerance.
  kIterationLimit,     // The iterations allowed did not suffice.
  kStagnated,          // Rounding keeps the residual from falling further.
  kNegativeCurvature,  // A direction p with p^T A p <= 0 was met: A is not
                       // positive definite, and x is the last iterate.
  kDiverged,           // The residual grew without bound.
};

// "converged", "iteration_limit", "stagnated", "negative_curvature",
// "diverged".
absl::string_view SolveOutcomeName(SolveOutcome outcome);

struct SolveReport {
  SolveOutcome outcome = SolveOutcome::kConverged;
  int64_t iterations = 0;  // 0 where b is zero.

  // |b - A x| / |b| in Euclidean norms, computed anew from x; 0 where b is
  // zero.
  double relative_residual = 0;

  // What a user should know beside that, mostly nothing: "diverged with scale
  // 2; started anew with 4".
  std::string remark = {};
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_SOLVE_REPORT_H_
