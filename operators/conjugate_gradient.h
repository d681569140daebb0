// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Solves A x = b by conjugate gradients, reaching the symmetric positive
// definite A through its products only: for many right-hand sides in one block
// Krylov space, or for each in a space of its own.
//
// Block: the search directions of all right-hand sides that are not yet solved
// are made a well-conditioned basis P by a rank-revealing Cholesky
// factorisation of their Gram matrix, so that right-hand sides may depend on
// each other, and every right-hand side takes the best step in the span of all
// of them: x += P a with P^T A P a = P^T r (O'Leary 1980; the basis is that of
// Ji and Li 2017, algorithm 2). A direction that is left out as dependent is
// found again in the next residuals. Fewer products than one by one, as long as
// their number is not small.
#ifndef INFLUENCE_OPERATORS_CONJUGATE_GRADIENT_H_
#define INFLUENCE_OPERATORS_CONJUGATE_GRADIENT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "operators/operator.h"
#include "operators/solve_report.h"

namespace influence {

struct ConjugateGradientOptions {
  // > 0. A right-hand side b is solved once |b - A x| <= relative_tolerance
  // |b|, whatever the size of the others.
  double relative_tolerance = 1e-5;

  int64_t max_iterations = 1000;  // >= 1; of each right-hand side.

  // All right-hand sides in one block Krylov space. Otherwise each by itself,
  // its iterates the same whatever else is solved for; the products are taken
  // for all of them at once all the same.
  bool block = true;

  // M^-1, symmetric positive definite and of A's size; none where null.
  std::shared_ptr<const Operator> preconditioner;

  // Float32 or float64: of the iterates and of the operands of A and M^-1. That
  // of the right-hand sides where not given.
  std::optional<at::ScalarType> dtype;
};

// A^-1. Immutable; as thread-safe as A and the preconditioner. Not linear in
// its operand but up to the tolerance.
//
// Reports: kConverged within the tolerance, by a residual that is recomputed
// from x; otherwise x is the last iterate, and
// - kIterationLimit after max_iterations;
// - kStagnated where the recursion's residual goes on falling, but the
//   recomputed one does not, and starting from it anew no longer halves it: the
//   rounding of A x allows no more;
// - kNegativeCurvature where p^T A p is below the rounding of |p| |A p|: A is
//   indefinite or singular. In a block, the right-hand sides that are not yet
//   solved are then continued one by one, each to an outcome of its own.
// A zero right-hand side gives zero after 0 iterations. The residual reported
// is that of x before it is rounded to the right-hand side's dtype.
class ConjugateGradient : public Operator {
 public:
  // kInvalidArgument, naming the field and its value, if `a` is null, an option
  // is out of range or the preconditioner is of another size.
  static absl::StatusOr<std::shared_ptr<const ConjugateGradient>> Create(
      std::shared_ptr<const Operator> a,
      const ConjugateGradientOptions& options = {});

  int64_t input_size() const override { return a_->input_size(); }

  const ConjugateGradientOptions& options() const { return options_; }

 protected:
  // An iteration is a product with A and one with M^-1 for each right-hand side
  // not yet solved, 6 K P operations more one by one and 12 K^2 P in a block;
  // convergence, and each digit gained near the limits of the dtype, cost
  // another product with A. Memory: 8 [K, P] and what the products need.
  // kInvalidArgument on an operand or a product with an entry that is not
  // finite, or if a residual shows that M^-1 is not positive definite.
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override;
  absl::StatusOr<at::Tensor> DoApplyWithReports(
      const at::Tensor& matrix,
      std::vector<SolveReport>* reports) const override;

 private:
  ConjugateGradient(std::shared_ptr<const Operator> a,
                    ConjugateGradientOptions options);

  std::shared_ptr<const Operator> a_;
  ConjugateGradientOptions options_;
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_CONJUGATE_GRADIENT_H_
