// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/arnoldi.h"

#include <algorithm>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/from_blob.h"
#include "ATen/ops/zeros.h"
#include "Eigen/Core"
#include "Spectra/SymEigsSolver.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "operators/random_matrix.h"

namespace influence {
namespace {

// Products of the power iteration that estimates the norm of C.
constexpr int kNormProducts = 3;

// Leaves Spectra, which has no word for a product that fails; caught below.
struct Stopped {};

// C / scale as Spectra reaches for it. Spectra's thresholds are absolute, so
// that its matrix should have a norm of about one.
class SpectraProduct {
 public:
  using Scalar = double;

  SpectraProduct(const Operator& c, at::ScalarType dtype)
      : c_(c), dtype_(dtype) {}

  Eigen::Index rows() const { return c_.input_size(); }
  Eigen::Index cols() const { return c_.input_size(); }

  // NOLINTNEXTLINE(readability-identifier-naming): Spectra's name.
  void perform_op(const double* x_in, double* y_out) const {
    status_ = Product(x_in, y_out);
    if (!status_.ok()) throw Stopped();
  }

  absl::Status Product(const double* x_in, double* y_out) const {
    const int64_t size = c_.input_size();
    const at::Tensor x =
        at::from_blob(const_cast<double*>(x_in), {size}, at::kDouble);
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor product, c_.Apply(x.to(dtype_)));
    INFLUENCE_RETURN_IF_ERROR(ValidateFinite("product", product));
    at::from_blob(y_out, {size}, at::kDouble).copy_(product).div_(scale_);
    return absl::OkStatus();
  }

  void set_scale(double scale) { scale_ = scale; }
  const absl::Status& status() const { return status_; }

 private:
  const Operator& c_;
  at::ScalarType dtype_;
  double scale_ = 1;
  mutable absl::Status status_;  // Of the last product, the first to fail.
};

// As many columns of a matrix of Eigen as contiguous rows.
at::Tensor Rows(const Eigen::MatrixXd& columns, at::ScalarType dtype) {
  return at::from_blob(const_cast<double*>(columns.data()),
                       {columns.cols(), columns.rows()}, at::kDouble)
      .to(dtype, /*non_blocking=*/false, /*copy=*/true);
}

absl::StatusOr<ArnoldiResult> Dense(const Operator& c,
                                    const ArnoldiOptions& options) {
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor matrix, DenseMatrix(c, options.dtype));
  INFLUENCE_ASSIGN_OR_RETURN(
      LowRank pairs, DenseEigenpairs(matrix, options.rank, options.dtype));
  return ArnoldiResult{std::move(pairs), true, c.input_size(), 0};
}

absl::StatusOr<ArnoldiResult> Krylov(const Operator& c, int64_t subspace,
                                     const ArnoldiOptions& options) {
  const int64_t size = c.input_size();
  SpectraProduct product(c, options.dtype);
  const at::Tensor start = RandomNormalMatrix(1, size, options.seed)[0];
  start.div_(start.norm());
  at::Tensor vector = start.clone();
  const at::Tensor image = at::empty({size}, at::kDouble);
  double scale = 0;
  for (int i = 0; i < kNormProducts; ++i) {
    INFLUENCE_RETURN_IF_ERROR(
        product.Product(vector.data_ptr<double>(), image.data_ptr<double>()));
    const double norm = image.norm().item<double>();
    scale = std::max(scale, norm);
    if (norm == 0) break;
    vector = image.div(norm);
  }
  if (scale == 0) {
    // C is zero on a random vector.
    return ArnoldiResult{
        {RandomOrthonormalRows(options.rank, size, options.seed)
             .to(options.dtype)
             .t(),
         at::zeros({options.rank}, at::kDouble)},
        true,
        1,
        0};
  }
  product.set_scale(scale);
  double tolerance = options.relative_tolerance;
  if (tolerance == 0) tolerance = options.dtype == at::kDouble ? 1e-10 : 1e-6;
  Spectra::SymEigsSolver<SpectraProduct> solver(product, options.rank,
                                                subspace);
  try {
    solver.init(start.data_ptr<double>());
    solver.compute(Spectra::SortRule::LargestMagn, options.max_restarts,
                   tolerance, Spectra::SortRule::LargestMagn);
  } catch (const Stopped&) {
    return product.status();
  }
  const Eigen::VectorXd values = solver.eigenvalues();
  const at::Tensor d = at::empty({values.size()}, at::kDouble);
  std::copy_n(values.data(), values.size(), d.data_ptr<double>());
  return ArnoldiResult{
      {Rows(solver.eigenvectors(), options.dtype).t(), d.mul_(scale)},
      solver.info() == Spectra::CompInfo::Successful,
      solver.num_operations() + kNormProducts,
      solver.num_iterations() - 1};
}

}  // namespace

int64_t ArnoldiSubspaceSize(int64_t rank, int64_t size) {
  return std::min(size, std::max<int64_t>(2 * rank + 1, 20));
}

absl::StatusOr<ArnoldiResult> ArnoldiEigenpairs(const Operator& c,
                                                const ArnoldiOptions& options) {
  if (options.rank < 1 || options.rank > c.input_size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "rank: found ", options.rank, ", expected 1 to ", c.input_size()));
  }
  if (options.dtype != at::kFloat && options.dtype != at::kDouble) {
    return absl::InvalidArgumentError(
        absl::StrCat("dtype: found ", DtypeName(options.dtype),
                     ", expected float32 or float64"));
  }
  INFLUENCE_RETURN_IF_ERROR(
      ValidateNonNegative("relative_tolerance", options.relative_tolerance));
  if (options.max_restarts < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_restarts: found ", options.max_restarts, ", expected >= 1"));
  }
  return CatchTorch("eigenpairs", [&]() -> absl::StatusOr<ArnoldiResult> {
    at::NoGradGuard no_grad;
    const int64_t subspace = ArnoldiSubspaceSize(options.rank, c.input_size());
    if (subspace == c.input_size()) return Dense(c, options);
    return Krylov(c, subspace, options);
  });
}

}  // namespace influence
