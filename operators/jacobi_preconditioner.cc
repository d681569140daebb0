// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/jacobi_preconditioner.h"

#include <memory>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "gradients/batch.h"
#include "gradients/factored_gradients.h"

namespace influence {

absl::StatusOr<at::Tensor> GaussNewtonDiagonal(const GradientProvider& provider,
                                               const BatchSequence& data,
                                               ProgressReporter* progress,
                                               Communicator* communicator) {
  if (data.num_samples() < 1) {
    return absl::InvalidArgumentError(
        "data: found no samples, expected at least one");
  }
  return CatchTorch(
      "Gauss-Newton diagonal", [&]() -> absl::StatusOr<at::Tensor> {
        at::NoGradGuard no_grad;
        at::Tensor sum = at::zeros({provider.num_parameters()}, at::kDouble);
        const RankShare mine = ShareOf(data.num_batches(), communicator);
        ProgressStage stage(progress, "diagonal", mine.end - mine.begin,
                            "batches");
        for (int64_t i = mine.begin; i < mine.end; ++i) {
          INFLUENCE_ASSIGN_OR_RETURN(Batch batch, data.Get(i));
          INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients grads,
                                     provider.FactoredGrads(batch));
          INFLUENCE_ASSIGN_OR_RETURN(at::Tensor squares, grads.SumOfSquares());
          sum.add_(squares);
          stage.Advance();
        }
        if (communicator != nullptr) {
          INFLUENCE_RETURN_IF_ERROR(communicator->AllReduceSum(sum));
        }
        return sum.div_(static_cast<double>(data.num_samples()));
      });
}

absl::StatusOr<std::shared_ptr<const JacobiPreconditioner>>
JacobiPreconditioner::Create(const at::Tensor& diagonal,
                             double regularization) {
  INFLUENCE_RETURN_IF_ERROR(ValidateFloating("diagonal", diagonal));
  if (diagonal.dim() != 1 || diagonal.size(0) < 1) {
    return absl::InvalidArgumentError(absl::StrCat("diagonal: found shape ",
                                                   ShapeString(diagonal),
                                                   ", expected [P], P >= 1"));
  }
  INFLUENCE_RETURN_IF_ERROR(
      ValidateNonNegative("regularization", regularization));
  return CatchTorch(
      "Jacobi preconditioner",
      [&]() -> absl::StatusOr<std::shared_ptr<const JacobiPreconditioner>> {
        at::NoGradGuard no_grad;
        INFLUENCE_RETURN_IF_ERROR(ValidateFinite("diagonal", diagonal));
        const at::Tensor entries = diagonal.to(at::kDouble);
        const double least = entries.min().item<double>();
        if (least < 0) {
          return absl::InvalidArgumentError(absl::StrCat(
              "diagonal: found ", least, ", expected entries >= 0"));
        }
        at::Tensor sum = entries.add(regularization);
        sum.masked_fill_(sum.eq(0), 1);
        return std::shared_ptr<const JacobiPreconditioner>(
            new JacobiPreconditioner(sum.reciprocal_()));
      });
}

JacobiPreconditioner::JacobiPreconditioner(at::Tensor inverse)
    : inverse_(std::move(inverse)) {}

absl::StatusOr<at::Tensor> JacobiPreconditioner::DoApply(
    const at::Tensor& matrix) const {
  at::NoGradGuard no_grad;
  return matrix.mul(inverse_.to(matrix.scalar_type()));
}

}  // namespace influence
