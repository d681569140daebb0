// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/inverse_harmonic_mean_batch_operation.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "base/validators.h"
#include "gradients/factored_gradients.h"

namespace influence {

absl::StatusOr<std::shared_ptr<const InverseHarmonicMeanBatchOperation>>
InverseHarmonicMeanBatchOperation::Create(
    std::shared_ptr<const GradientProvider> provider, double regularization) {
  if (provider == nullptr) {
    return absl::InvalidArgumentError("provider: is null");
  }
  INFLUENCE_RETURN_IF_ERROR(ValidatePositive("regularization", regularization));
  return std::shared_ptr<const InverseHarmonicMeanBatchOperation>(
      new InverseHarmonicMeanBatchOperation(std::move(provider),
                                            regularization));
}

InverseHarmonicMeanBatchOperation::InverseHarmonicMeanBatchOperation(
    std::shared_ptr<const GradientProvider> provider, double regularization)
    : BatchOperation(std::move(provider)), regularization_(regularization) {}

absl::StatusOr<at::Tensor> InverseHarmonicMeanBatchOperation::DoApply(
    const Batch& batch, const at::Tensor& matrix) const {
  INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients grads,
                             provider().FactoredGrads(batch));
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor products, grads.Contract(matrix));
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor squared_norms, grads.SquaredNorms());
  // weights[k, n] = (g_n . v_k) / (N (lambda + |g_n|^2))
  const at::Tensor weights =
      products.t().div(squared_norms.add(regularization_)
                           .mul_(static_cast<double>(batch.size())));
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor sum, grads.WeightedSum(weights));
  return matrix.sub(sum).div_(regularization_);
}

}  // namespace influence
