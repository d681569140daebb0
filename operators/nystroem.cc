// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/nystroem.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/linalg_cholesky.h"
#include "ATen/ops/linalg_eigvalsh.h"
#include "ATen/ops/linalg_qr.h"
#include "ATen/ops/linalg_solve_triangular.h"
#include "ATen/ops/linalg_svd.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/rounding_unit.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "operators/random_matrix.h"

namespace influence {
namespace {

// How far below zero, relative to the norm of C, rounding may bring an
// eigenvalue of zero: sums of some thousand products.
double NoiseLevel(at::ScalarType dtype) { return 100 * RoundingUnit(dtype); }

absl::Status Indefinite(double value, double largest) {
  return absl::InvalidArgumentError(absl::StrCat(
      "curvature: found an indefinite one (a Rayleigh quotient of ", value,
      ", the largest ", largest,
      "), expected a positive semidefinite one: a Gauss-Newton matrix as the "
      "second order (--second-order), or another method"));
}

// The smallest Ritz value after some steps of Lanczos' method with full
// reorthogonalisation, which bounds the smallest eigenvalue from above.
absl::Status LookForNegativeCurvature(const Operator& c,
                                      const NystroemOptions& options) {
  const int64_t size = c.input_size();
  const int64_t steps = std::min(options.num_definiteness_products, size);
  if (steps < 1) return absl::OkStatus();
  const at::Tensor basis = at::zeros({steps, size}, at::kDouble);
  const at::Tensor projected = at::zeros({steps, steps}, at::kDouble);
  at::Tensor next =
      RandomNormalMatrix(1, size, options.seed ^ 0x9e3779b97f4a7c15)[0];
  double norm = next.norm().item<double>();
  double largest = 0;
  int64_t step = 0;
  for (; step < steps; ++step) {
    basis[step].copy_(next.div(norm));
    const at::Tensor built = basis.narrow(0, 0, step + 1);
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor product,
                               c.Apply(basis[step].to(options.dtype)));
    INFLUENCE_RETURN_IF_ERROR(ValidateFinite("product", product));
    next = product.to(at::kDouble);
    largest = std::max(largest, next.norm().item<double>());
    const at::Tensor along = built.mv(next);
    projected[step].narrow(0, 0, step + 1).copy_(along);
    next = next.sub(built.t().mv(along));
    next = next.sub(built.t().mv(built.mv(next)));
    norm = next.norm().item<double>();
    if (norm <= NoiseLevel(options.dtype) * largest) {
      ++step;
      break;
    }
  }
  // The lower triangle alone counts.
  const at::Tensor values =
      at::linalg_eigvalsh(projected.narrow(0, 0, step).narrow(1, 0, step));
  const double smallest = values[0].item<double>();
  if (smallest < -NoiseLevel(options.dtype) * largest) {
    return Indefinite(smallest, values[step - 1].item<double>());
  }
  return absl::OkStatus();
}

absl::StatusOr<LowRank> FullRank(const Operator& c,
                                 const NystroemOptions& options) {
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor matrix, DenseMatrix(c, options.dtype));
  INFLUENCE_ASSIGN_OR_RETURN(
      const LowRank pairs,
      DenseEigenpairs(matrix, options.rank, options.dtype));
  return NonNegativeEigenpairs(pairs, options.dtype);
}

absl::StatusOr<LowRank> Sketch(const Operator& c,
                               const NystroemOptions& options) {
  const int64_t rank = options.rank;
  at::Tensor omega =
      RandomOrthonormalRows(rank, c.input_size(), options.seed);  // [k, P]
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor product,
                             c.Apply(omega.to(options.dtype)));
  INFLUENCE_RETURN_IF_ERROR(ValidateFinite("product", product));
  at::Tensor y = product.to(at::kDouble);
  const double norm = y.norm().item<double>();
  if (norm == 0) {
    return LowRank{omega.to(options.dtype).t(), at::zeros({rank}, at::kDouble)};
  }
  at::Tensor core = omega.matmul(y.t());
  core = core.add(core.t()).div_(2);
  const at::Tensor values = at::linalg_eigvalsh(core);
  const double smallest = values[0].item<double>();
  if (smallest < -NoiseLevel(options.dtype) * norm) {
    return Indefinite(smallest, values[rank - 1].item<double>());
  }
  // Large enough for the Cholesky factor to exist and to be well conditioned,
  // small beside all that the products are exact to.
  const double unit =
      std::max(RoundingUnit(options.dtype),
               10 * static_cast<double>(rank) * RoundingUnit(at::kDouble));
  const double shift = std::max(unit * norm, -2 * smallest);
  y.add_(omega, shift);
  core.diagonal().add_(shift);
  omega = at::Tensor();
  // B^T = L^-1 Y^T with L L^T the core: C ~ B B^T - shift.
  const at::Tensor factor = at::linalg_cholesky(core);
  const at::Tensor b = at::linalg_solve_triangular(factor, y, /*upper=*/false);
  y = at::Tensor();
  const auto [q, r] = at::linalg_qr(b.t(), "reduced");
  const auto [left, singular, right] =
      at::linalg_svd(r, /*full_matrices=*/false);
  return LowRank{q.matmul(left).t().to(options.dtype).contiguous().t(),
                 singular.square().sub_(shift).clamp_min_(0)};
}

}  // namespace

absl::StatusOr<LowRank> NonNegativeEigenpairs(const LowRank& pairs,
                                              at::ScalarType dtype) {
  return CatchTorch("eigenpairs", [&]() -> absl::StatusOr<LowRank> {
    if (pairs.rank() > 0) {
      const double smallest = pairs.d.min().item<double>();
      const double largest = pairs.d.abs().max().item<double>();
      if (smallest < -NoiseLevel(dtype) * largest) {
        return Indefinite(smallest, pairs.d.max().item<double>());
      }
    }
    return LowRank{pairs.u, pairs.d.clamp_min(0)};
  });
}

absl::StatusOr<LowRank> NystroemEigenpairs(const Operator& c,
                                           const NystroemOptions& options) {
  if (options.rank < 1 || options.rank > c.input_size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "rank: found ", options.rank, ", expected 1 to ", c.input_size()));
  }
  if (options.num_definiteness_products < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_definiteness_products: found ",
                     options.num_definiteness_products, ", expected >= 0"));
  }
  if (options.dtype != at::kFloat && options.dtype != at::kDouble) {
    return absl::InvalidArgumentError(
        absl::StrCat("dtype: found ", DtypeName(options.dtype),
                     ", expected float32 or float64"));
  }
  return CatchTorch("Nystroem sketch", [&]() -> absl::StatusOr<LowRank> {
    at::NoGradGuard no_grad;
    if (options.rank == c.input_size()) return FullRank(c, options);
    INFLUENCE_ASSIGN_OR_RETURN(LowRank pairs, Sketch(c, options));
    INFLUENCE_RETURN_IF_ERROR(LookForNegativeCurvature(c, options));
    return pairs;
  });
}

}  // namespace influence
