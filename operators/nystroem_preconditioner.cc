// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/nystroem_preconditioner.h"

#include <memory>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"

namespace influence {

absl::StatusOr<std::shared_ptr<const NystroemPreconditioner>>
NystroemPreconditioner::Create(LowRank low_rank, double regularization) {
  INFLUENCE_RETURN_IF_ERROR(ValidateLowRank(low_rank));
  INFLUENCE_RETURN_IF_ERROR(
      ValidateNonNegative("regularization", regularization));
  if (low_rank.rank() < 1) {
    return absl::InvalidArgumentError(
        "D: found no eigenvalue, expected at least one");
  }
  return CatchTorch(
      "Nystroem preconditioner",
      [&]() -> absl::StatusOr<std::shared_ptr<const NystroemPreconditioner>> {
        at::NoGradGuard no_grad;
        const double smallest = low_rank.d.min().item<double>();
        if (smallest < 0) {
          return absl::InvalidArgumentError(absl::StrCat(
              "D: found eigenvalue ", smallest, ", expected none below 0"));
        }
        if (smallest + regularization <= 0) {
          return absl::InvalidArgumentError(
              "regularization: found 0 where the smallest eigenvalue of the "
              "preconditioner is 0 too, expected a positive one "
              "(--regularization)");
        }
        at::Tensor weights = low_rank.d.add(regularization)
                                 .reciprocal_()
                                 .mul_(smallest + regularization)
                                 .sub_(1)
                                 .to(low_rank.u.scalar_type());
        return std::shared_ptr<const NystroemPreconditioner>(
            new NystroemPreconditioner(std::move(low_rank),
                                       std::move(weights)));
      });
}

NystroemPreconditioner::NystroemPreconditioner(LowRank low_rank,
                                               at::Tensor weights)
    : low_rank_(std::move(low_rank)), weights_(std::move(weights)) {}

absl::StatusOr<at::Tensor> NystroemPreconditioner::DoApply(
    const at::Tensor& matrix) const {
  at::NoGradGuard no_grad;
  const at::Tensor coefficients =
      matrix.to(low_rank_.u.scalar_type()).matmul(low_rank_.u).mul_(weights_);
  return matrix.add(
      coefficients.matmul(low_rank_.u.t()).to(matrix.scalar_type()));
}

}  // namespace influence
