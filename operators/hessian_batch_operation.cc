// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/hessian_batch_operation.h"

#include <memory>
#include <utility>

#include "base/status_macros.h"
#include "gradients/differentiable_attention.h"
#include "operators/curvature_graph.h"
#include "operators/second_derivative_check.h"

namespace influence {

HessianBatchOperation::HessianBatchOperation(
    std::shared_ptr<const GradientProvider> provider)
    : BatchOperation(std::move(provider)) {}

absl::StatusOr<at::Tensor> HessianBatchOperation::DoApply(
    const Batch& batch, const at::Tensor& matrix) const {
  if (!is_checked_.load()) {
    INFLUENCE_RETURN_IF_ERROR(
        CheckHessian(provider(), provider().selection(), batch));
    is_checked_.store(true);
  }
  DifferentiableAttentionScope differentiable_attention;
  INFLUENCE_ASSIGN_OR_RETURN(
      std::unique_ptr<const CurvatureGraph> graph,
      CreateHessianGraph(provider(), provider().selection(), batch));
  return MatrixProduct(*graph, provider(), matrix)
      .div_(static_cast<double>(batch.size()));
}

}  // namespace influence
