// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Products with the generalised Gauss-Newton matrix of a batch,
//   m(b) = (1/N) sum_n J_n^T H_n J_n,
// with J_n the Jacobian of the model's output for sample n in theta and H_n the
// Hessian of the loss in that output (Schraudolph 2002). Positive semidefinite
// for a loss that is convex in the output; for cross entropy, the exact Fisher.
#ifndef INFLUENCE_OPERATORS_GENERALIZED_GAUSS_NEWTON_BATCH_OPERATION_H_
#define INFLUENCE_OPERATORS_GENERALIZED_GAUSS_NEWTON_BATCH_OPERATION_H_

#include <atomic>
#include <memory>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/batch.h"
#include "gradients/gradient_provider.h"
#include "operators/batch_operation.h"

namespace influence {

// J v is the derivative in u of (J^T u)^T v, which is linear in u, so reverse
// mode alone does: one forward and one backward pass for each batch, and for
// each right-hand side one double backward pass (J v), one of the loss alone
// (H J v) and one backward pass (J^T H J v). Errors as HessianBatchOperation.
class GeneralizedGaussNewtonBatchOperation : public BatchOperation {
 public:
  explicit GeneralizedGaussNewtonBatchOperation(
      std::shared_ptr<const GradientProvider> provider);

 protected:
  absl::StatusOr<at::Tensor> DoApply(const Batch& batch,
                                     const at::Tensor& matrix) const override;

 private:
  mutable std::atomic<bool> is_checked_ = false;  // second_derivative_check.h
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_GENERALIZED_GAUSS_NEWTON_BATCH_OPERATION_H_
