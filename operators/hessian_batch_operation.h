// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Products with the Hessian of a batch's mean loss,
//   m(b) = (1/N) sum_n d^2 l(theta; z_n) / d theta^2,
// by differentiating the gradient a second time. Exact; may be indefinite.
#ifndef INFLUENCE_OPERATORS_HESSIAN_BATCH_OPERATION_H_
#define INFLUENCE_OPERATORS_HESSIAN_BATCH_OPERATION_H_

#include <atomic>
#include <memory>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/batch.h"
#include "gradients/gradient_provider.h"
#include "operators/batch_operation.h"

namespace influence {

// One forward and one backward pass for each batch, and one double backward
// pass for each right-hand side. Before the first product second derivatives
// are looked at: kInvalidArgument, naming the operator, if one has none or a
// wrong one (second_derivative_check.h).
class HessianBatchOperation : public BatchOperation {
 public:
  explicit HessianBatchOperation(
      std::shared_ptr<const GradientProvider> provider);

 protected:
  absl::StatusOr<at::Tensor> DoApply(const Batch& batch,
                                     const at::Tensor& matrix) const override;

 private:
  mutable std::atomic<bool> is_checked_ = false;  // second_derivative_check.h
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_HESSIAN_BATCH_OPERATION_H_
