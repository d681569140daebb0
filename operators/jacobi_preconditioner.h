// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The inverse of the diagonal of the Gauss-Newton matrix plus lambda, to
// precondition conjugate gradients with, whatever the curvature they solve
// with:
//   M^-1 v = v / (diag(mean_n g_n g_n^T) + lambda).
#ifndef INFLUENCE_OPERATORS_JACOBI_PRECONDITIONER_H_
#define INFLUENCE_OPERATORS_JACOBI_PRECONDITIONER_H_

#include <cstdint>
#include <memory>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "base/progress.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "operators/operator.h"

namespace influence {

// mean_n g_n^2 entry by entry, float64 [P], for the parameters of the
// provider's selection: one gradient pass over the data, from factors, never
// [N, P]. Tells `progress` (may be null) after each batch. kInvalidArgument if
// the data has no samples. With a communicator the ranks share the batches out:
// collective, the same result on all.
absl::StatusOr<at::Tensor> GaussNewtonDiagonal(
    const GradientProvider& provider, const BatchSequence& data,
    ProgressReporter* progress = nullptr, Communicator* communicator = nullptr);

// Immutable and thread-safe. Memory: 8 P bytes.
class JacobiPreconditioner : public Operator {
 public:
  // diagonal: [P], P >= 1, floating, finite, >= 0; lambda finite, >= 0.
  // kInvalidArgument naming what is not. Where both are zero, as for a
  // parameter that no gradient reaches, 1 takes the place of their sum.
  static absl::StatusOr<std::shared_ptr<const JacobiPreconditioner>> Create(
      const at::Tensor& diagonal, double regularization);

  int64_t input_size() const override { return inverse_.size(0); }

 protected:
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override;

 private:
  explicit JacobiPreconditioner(at::Tensor inverse);

  at::Tensor inverse_;  // [P], float64.
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_JACOBI_PRECONDITIONER_H_
