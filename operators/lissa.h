// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The linear time stochastic second-order algorithm (Agarwal, Bullins and Hazan
// 2017): an inverse as a truncated Neumann series, a batch of data a term,
//   x_{t+1} = b + (1 - d) x_t - A_t x_t / s,  x_0 = b,  result x / s,
// with A_t the matrix of batch t, scale s and dampening d. The fixed point, if
// every A_t is A, is (A + s d I)^-1 b.
#ifndef INFLUENCE_OPERATORS_LISSA_H_
#define INFLUENCE_OPERATORS_LISSA_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "operators/operator.h"
#include "operators/solve_report.h"

namespace influence {

struct LissaOptions {
  // s > 0. Must exceed half the largest eigenvalue of A and, for the noise to
  // stay bounded, of every A_t. Where not given: 1.1 times the largest estimate
  // of those of A and of each batch, by at most 30 steps of power iteration,
  // each a product.
  std::optional<double> scale;

  double dampen = 0;  // d: in [0, 1).

  int64_t max_iterations = 1000;  // >= 1; each a product with one batch.

  // > 0. Ends a right-hand side b once the mean step of an epoch, which is the
  // mean residual of its batches, is at most relative_tolerance |b|.
  double relative_tolerance = 1e-4;

  // Of the order of the batches, drawn anew for each epoch, and of the power
  // iteration's start.
  uint64_t seed = 0;

  // Float32 or float64: of the iterates and the operands of the batches. That
  // of the right-hand sides where not given, float64 in power iterations.
  std::optional<at::ScalarType> dtype;
};

// A_t = C_t + lambda I, and the number of samples that C_t is a mean over.
struct LissaBatch {
  std::shared_ptr<const Operator> a;
  int64_t num_samples;
};

// A is the mean of the A_t, weighted by samples. Immutable; as thread-safe as
// the batches. All right-hand sides meet the same batches in the same order;
// the result depends on the batches and on the seed.
//
// Reports: the residual is |b - (A + s d I) x| / |b| with the whole A,
// recomputed.
// - kConverged: it is within the tolerance.
// - kStagnated: the mean step is, but it is not: what is left is the noise of
//   the batches, or rounding.
// - kIterationLimit: after max_iterations.
// - kDiverged: |x_t| > 10 (t + 1) |b| or not finite, where a step that enlarges
//   nothing, as it does not for eigenvalues of A_t in [0, (2 - d) s], leaves
//   |x_t| <= (t + 1) |b|. The first time, the right-hand side is started anew
//   with 2 s, and its remark says so; the second time, the result is NaN.
class Lissa : public Operator {
 public:
  // Estimates s where it is not given. kInvalidArgument, naming the argument,
  // if there is no batch, an operator is null, sizes differ, a number of
  // samples or an option is out of range, or all A_t are zero.
  static absl::StatusOr<std::shared_ptr<const Lissa>> Create(
      std::vector<LissaBatch> batches, const LissaOptions& options = {});

  int64_t input_size() const override { return batches_[0].a->input_size(); }

  const LissaOptions& options() const { return options_; }
  double scale() const { return scale_; }  // s

 protected:
  // An iteration is a product with a batch for each right-hand side not yet
  // ended, an end another product with A. Memory: 5 [K, P] and what the
  // products need. kInvalidArgument on an operand that is not finite.
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override;
  absl::StatusOr<at::Tensor> DoApplyWithReports(
      const at::Tensor& matrix,
      std::vector<SolveReport>* reports) const override;

 private:
  Lissa(std::vector<LissaBatch> batches, const LissaOptions& options);

  // A x.
  absl::StatusOr<at::Tensor> WholeProduct(const at::Tensor& x) const;

  absl::StatusOr<double> EstimateScale() const;

  // Runs the recursion with scale `scale` for the rows `b`, each of length 1.
  // Adds to the reports, one a row, and overwrites x [K, P].
  absl::Status Recur(double scale, const at::Tensor& b, at::Tensor& x,
                     std::vector<SolveReport>& reports) const;

  std::vector<LissaBatch> batches_;
  LissaOptions options_;
  double scale_ = 0;
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_LISSA_H_
