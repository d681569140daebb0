// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/dense_operator.h"

#include <cmath>
#include <memory>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"

namespace influence {

absl::StatusOr<std::shared_ptr<const DenseOperator>> DenseOperator::Create(
    at::Tensor c, double regularization) {
  INFLUENCE_RETURN_IF_ERROR(ValidateFloating("matrix", c));
  if (c.dim() != 2 || c.size(0) != c.size(1) || c.size(0) < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("matrix: found shape ", ShapeString(c),
                     ", expected a square of at least one row"));
  }
  INFLUENCE_RETURN_IF_ERROR(CatchTorch(
      "dense operator", [&] { return ValidateFinite("matrix", c); }));
  if (!std::isfinite(regularization)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "regularization: found ", regularization, ", expected a finite value"));
  }
  return std::shared_ptr<const DenseOperator>(
      new DenseOperator(std::move(c), regularization));
}

DenseOperator::DenseOperator(at::Tensor c, double regularization)
    : c_(std::move(c)), regularization_(regularization) {}

absl::StatusOr<at::Tensor> DenseOperator::DoApply(
    const at::Tensor& matrix) const {
  at::NoGradGuard no_grad;
  const at::Tensor operand = matrix.to(c_.scalar_type());
  return operand.matmul(c_)
      .add_(operand, regularization_)
      .to(matrix.scalar_type());
}

}  // namespace influence
