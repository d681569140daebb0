// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/gauss_newton_batch_operation.h"

#include <memory>
#include <utility>

#include "base/status_macros.h"
#include "gradients/factored_gradients.h"

namespace influence {

GaussNewtonBatchOperation::GaussNewtonBatchOperation(
    std::shared_ptr<const GradientProvider> provider)
    : BatchOperation(std::move(provider)) {}

absl::StatusOr<at::Tensor> GaussNewtonBatchOperation::DoApply(
    const Batch& batch, const at::Tensor& matrix) const {
  INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients grads,
                             provider().FactoredGrads(batch));
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor products, grads.Contract(matrix));
  const auto num_samples = static_cast<double>(batch.size());
  return grads.WeightedSum(products.t().div(num_samples));
}

}  // namespace influence
