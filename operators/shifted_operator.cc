// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/shifted_operator.h"

#include <cmath>
#include <memory>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace influence {

absl::StatusOr<std::shared_ptr<const ShiftedOperator>> ShiftedOperator::Create(
    std::shared_ptr<const Operator> c, double shift) {
  if (c == nullptr) return absl::InvalidArgumentError("operator: is null");
  if (!std::isfinite(shift)) {
    return absl::InvalidArgumentError(
        absl::StrCat("shift: found ", shift, ", expected a finite value"));
  }
  return std::shared_ptr<const ShiftedOperator>(
      new ShiftedOperator(std::move(c), shift));
}

ShiftedOperator::ShiftedOperator(std::shared_ptr<const Operator> c,
                                 double shift)
    : c_(std::move(c)), shift_(shift) {}

absl::StatusOr<at::Tensor> ShiftedOperator::DoApply(
    const at::Tensor& matrix) const {
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor product, c_->Apply(matrix));
  at::NoGradGuard no_grad;
  return product.add(matrix, shift_);
}

}  // namespace influence
