// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/low_rank.h"

#include <algorithm>
#include <tuple>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/linalg_eigh.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"

namespace influence {
namespace {

// Unit vectors of one call of an operator.
constexpr int64_t kMaxColumns = 256;

}  // namespace

absl::Status ValidateLowRank(const LowRank& low_rank) {
  INFLUENCE_RETURN_IF_ERROR(ValidateFloating("U", low_rank.u));
  if (low_rank.u.dim() != 2 || low_rank.u.size(1) > low_rank.u.size(0) ||
      low_rank.u.size(0) < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("U: found shape ", ShapeString(low_rank.u),
                     ", expected [P, k] with k <= P"));
  }
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined("D", low_rank.d));
  INFLUENCE_RETURN_IF_ERROR(
      ValidateShape("D", low_rank.d, {low_rank.u.size(1)}));
  if (low_rank.d.scalar_type() != at::kDouble) {
    return absl::InvalidArgumentError(
        absl::StrCat("D: found dtype ", DtypeName(low_rank.d.scalar_type()),
                     ", expected float64"));
  }
  return CatchTorch("low rank", [&]() -> absl::Status {
    INFLUENCE_RETURN_IF_ERROR(ValidateFinite("U", low_rank.u));
    return ValidateFinite("D", low_rank.d);
  });
}

absl::StatusOr<LowRank> DenseEigenpairs(const at::Tensor& c, int64_t rank,
                                        at::ScalarType dtype) {
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined("curvature", c));
  if (c.scalar_type() != at::kDouble || c.dim() != 2 ||
      c.size(0) != c.size(1) || c.size(0) < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "curvature: found ", DtypeName(c.scalar_type()), " of shape ",
        ShapeString(c), ", expected a square float64 matrix"));
  }
  if (rank < 1 || rank > c.size(0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank: found ", rank, ", expected 1 to ", c.size(0)));
  }
  return CatchTorch("eigendecomposition", [&]() -> absl::StatusOr<LowRank> {
    at::NoGradGuard no_grad;
    INFLUENCE_RETURN_IF_ERROR(ValidateFinite("curvature", c));
    const auto [values, vectors] = at::linalg_eigh(c);
    const at::Tensor order =
        values.abs().argsort(/*dim=*/0, /*descending=*/true).narrow(0, 0, rank);
    return LowRank{
        vectors.index_select(1, order).t().to(dtype).contiguous().t(),
        values.index_select(0, order)};
  });
}

absl::StatusOr<at::Tensor> DenseMatrix(const Operator& op,
                                       at::ScalarType dtype) {
  return CatchTorch("dense matrix", [&]() -> absl::StatusOr<at::Tensor> {
    at::NoGradGuard no_grad;
    const int64_t size = op.input_size();
    const at::Tensor matrix = at::empty({size, size}, at::kDouble);
    for (int64_t begin = 0; begin < size; begin += kMaxColumns) {
      const int64_t count = std::min(kMaxColumns, size - begin);
      const at::Tensor unit = at::zeros({count, size}, dtype);
      unit.narrow(1, begin, count).diagonal().fill_(1);
      INFLUENCE_ASSIGN_OR_RETURN(at::Tensor rows, op.Apply(unit));
      matrix.narrow(0, begin, count).copy_(rows);
    }
    return matrix.add(matrix.t()).div_(2);
  });
}

}  // namespace influence
