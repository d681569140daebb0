// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/direct_inverse.h"

#include <limits>
#include <memory>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/cholesky_solve.h"
#include "ATen/ops/linalg_cholesky_ex.h"
#include "ATen/ops/linalg_eigvalsh.h"
#include "ATen/ops/linalg_lu_factor_ex.h"
#include "ATen/ops/linalg_lu_solve.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"

namespace influence {
namespace {

constexpr double kEpsilon = std::numeric_limits<double>::epsilon();

}  // namespace

DirectInverse::DirectInverse(at::Tensor c, const DirectInverseOptions& options)
    : c_(std::move(c)), options_(options) {}

absl::StatusOr<std::shared_ptr<const DirectInverse>> DirectInverse::Create(
    at::Tensor c, const DirectInverseOptions& options) {
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined("curvature", c));
  if (c.scalar_type() != at::kDouble || c.dim() != 2 ||
      c.size(0) != c.size(1) || c.size(0) < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "curvature: found ", DtypeName(c.scalar_type()), " of shape ",
        ShapeString(c), ", expected a square float64 matrix"));
  }
  INFLUENCE_RETURN_IF_ERROR(ValidateFinite("curvature", c));
  INFLUENCE_RETURN_IF_ERROR(
      ValidateNonNegative("regularization", options.regularization));
  INFLUENCE_RETURN_IF_ERROR(
      ValidatePositive("relative_accuracy", options.relative_accuracy));
  return CatchTorch(
      "factorisation",
      [&]() -> absl::StatusOr<std::shared_ptr<const DirectInverse>> {
        std::shared_ptr<DirectInverse> inverse(
            new DirectInverse(std::move(c), options));
        INFLUENCE_RETURN_IF_ERROR(inverse->Factorize());
        return inverse;
      });
}

absl::Status DirectInverse::Factorize() {
  at::NoGradGuard no_grad;
  const int64_t size = input_size();
  const double threshold =
      static_cast<double>(size) *
      (options_.regularization > 0 ? kEpsilon : options_.relative_accuracy);
  at::Tensor a = c_.clone();
  a.diagonal().add_(options_.regularization);

  // A pivot bounds the smallest eigenvalue from above: a tiny one, such as
  // rounding makes of a singular matrix, is looked into below.
  const auto [cholesky, info] = at::linalg_cholesky_ex(a);
  if (info.item<int>() == 0) {
    const at::Tensor pivots = cholesky.diagonal().square();
    if (pivots.min().item<double>() >
        1e3 * threshold * pivots.max().item<double>()) {
      factor_ = cholesky;
      return absl::OkStatus();
    }
  }

  const at::Tensor eigenvalues = at::linalg_eigvalsh(a);
  const double smallest = eigenvalues[0].item<double>();
  const at::Tensor magnitudes = eigenvalues.abs();
  const double least = magnitudes.min().item<double>();
  const double largest = magnitudes.max().item<double>();
  if (least <= threshold * largest) {
    return absl::InvalidArgumentError(absl::StrCat(
        "regularization: found ", options_.regularization,
        ", with which the curvature is singular (eigenvalues of magnitude ",
        least, " to ", largest,
        "), expected a larger value (--regularization)"));
  }
  if (smallest > 0 && info.item<int>() == 0) {
    factor_ = cholesky;
    return absl::OkStatus();
  }
  if (smallest < 0) smallest_eigenvalue_ = smallest;
  const auto [lu, pivots, lu_info] = at::linalg_lu_factor_ex(a);
  if (lu_info.item<int>() != 0) {
    return absl::InternalError(absl::StrCat(
        "factorisation: LU stopped at pivot ", lu_info.item<int>()));
  }
  factor_ = lu;
  pivots_ = pivots;
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const DirectInverse>>
DirectInverse::WithRegularization(double regularization) const {
  DirectInverseOptions options = options_;
  options.regularization = regularization;
  return Create(c_, options);
}

absl::StatusOr<at::Tensor> DirectInverse::DoApply(
    const at::Tensor& matrix) const {
  at::NoGradGuard no_grad;
  const at::Tensor right = matrix.to(at::kDouble).t();
  const at::Tensor solution = pivots_.defined()
                                  ? at::linalg_lu_solve(factor_, pivots_, right)
                                  : at::cholesky_solve(right, factor_);
  return solution.t().to(matrix.scalar_type()).contiguous();
}

}  // namespace influence
