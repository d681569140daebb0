// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// How the iterative solution of A x = b ended, for one right-hand side. To miss
// the tolerance is an outcome to be told, not an error.
#ifndef INFLUENCE_OPERATORS_SOLVE_REPORT_H_
#define INFLUENCE_OPERATORS_SOLVE_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace influence {

enum class SolveOutcome {
  kConverged,          // The residual is within the tolerance.
  kIterationLimit,     // The iterations allowed did not suffice.
  kStagnated,          // Rounding keeps the residual from falling further.
  kNegativeCurvature,  // A direction p with p^T A p <= 0 was met: A is not
                       // positive definite, and x is the last iterate, if
                       // there is one.
  kDiverged,           // The residual grew without bound: there is no x.
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

  // There is an x. False where the recursion diverged, or where negative
  // curvature was met before the first step: the row of x is NaN then
  // (missing_rows.h), not the zeros that it started from.
  bool has_answer() const {
    return outcome != SolveOutcome::kDiverged &&
           (outcome != SolveOutcome::kNegativeCurvature || iterations > 0);
  }
};

// The numbers, rising, of those without an answer.
std::vector<int64_t> RowsWithoutAnswer(const std::vector<SolveReport>& reports);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_SOLVE_REPORT_H_
