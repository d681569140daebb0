// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/low_rank_inverse.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "gradients/factored_gradients.h"
#include "operators/bilinear_form.h"
#include "operators/gradient_factors.h"

namespace influence {
namespace {

constexpr double kEpsilon = std::numeric_limits<double>::epsilon();

// Scalars of a tile that is converted to float64: 16 MiB.
constexpr int64_t kTileScalars = int64_t{1} << 21;

// What a float64 operation costs in float32 ones.
constexpr double kDoubleCost = 2;

int64_t TileLength(int64_t width) {
  return std::max<int64_t>(1, kTileScalars / std::max<int64_t>(1, width));
}

// matrix rows^T, float64 [K, k], for matrix [K, P] and rows [k, P].
at::Tensor Coefficients(const at::Tensor& matrix, const at::Tensor& rows) {
  at::Tensor products = at::zeros({matrix.size(0), rows.size(0)}, at::kDouble);
  const int64_t tile = TileLength(matrix.size(0) + rows.size(0));
  for (int64_t begin = 0; begin < matrix.size(1); begin += tile) {
    const int64_t count = std::min(tile, matrix.size(1) - begin);
    products.addmm_(matrix.narrow(1, begin, count).to(at::kDouble),
                    rows.narrow(1, begin, count).t().to(at::kDouble));
  }
  return products;
}

// Overwrites matrix [K, P] with identity * matrix + weighted rows; weighted is
// float64 [K, k].
void AddLowRank(double identity, const at::Tensor& weighted,
                const at::Tensor& rows, const at::Tensor& matrix) {
  const int64_t tile = TileLength(matrix.size(0) + rows.size(0));
  for (int64_t begin = 0; begin < matrix.size(1); begin += tile) {
    const int64_t count = std::min(tile, matrix.size(1) - begin);
    const at::Tensor part = matrix.narrow(1, begin, count);
    at::Tensor sum =
        at::matmul(weighted, rows.narrow(1, begin, count).to(at::kDouble));
    if (identity != 0) sum.add_(part, identity);
    part.copy_(sum);
  }
}

// Gradients times rows^T, [N, k] in the gradients' dtype; rows [k, P] of
// another dtype are converted a few at a time.
absl::StatusOr<at::Tensor> Project(const FactoredGradients& grads,
                                   const at::Tensor& rows) {
  if (rows.scalar_type() == grads.dtype()) return grads.Contract(rows);
  const int64_t rank = rows.size(0);
  at::Tensor products =
      at::empty({grads.num_samples(), rank}, at::dtype(grads.dtype()));
  // At least so many that writing gradients out for each part stays cheap.
  const int64_t tile = std::max<int64_t>(32, TileLength(rows.size(1)));
  for (int64_t begin = 0; begin < rank; begin += tile) {
    const int64_t count = std::min(tile, rank - begin);
    INFLUENCE_ASSIGN_OR_RETURN(
        at::Tensor part,
        grads.Contract(rows.narrow(0, begin, count).to(grads.dtype())));
    products.narrow(1, begin, count).copy_(part);
  }
  return products;
}

}  // namespace

// The bilinear form and its left sides.
class LowRankForms {
 public:
  class Form : public BilinearForm {
   public:
    explicit Form(const LowRankInverse* inverse) : inverse_(inverse) {}

    int64_t input_size() const override { return inverse_->input_size(); }

   protected:
    absl::StatusOr<at::Tensor> Transform(
        const at::Tensor& left) const override {
      return inverse_->Apply(left);
    }

    absl::StatusOr<std::unique_ptr<const PreparedGrads>> DoPrepareGrads(
        const FactoredGradients& left) const override;

   private:
    const LowRankInverse* inverse_;  // Borrowed, never null.
  };

  // The left gradients as factors and as coefficients in the span of U.
  class FactoredLeft : public PreparedGrads {
   public:
    FactoredLeft(const LowRankInverse* inverse, FactoredGradients left,
                 at::Tensor weighted)
        : inverse_(inverse),
          left_(std::move(left)),
          weighted_(std::move(weighted)) {}

    int64_t num_samples() const override { return left_.num_samples(); }
    int64_t num_parameters() const override { return left_.num_parameters(); }

   protected:
    absl::StatusOr<at::Tensor> DoTransformedGrads() const override;
    absl::StatusOr<at::Tensor> DoGradsInnerProd(
        const FactoredGradients& right) const override;
    absl::StatusOr<at::Tensor> DoRowwiseInnerProd(
        const FactoredGradients& right) const override;

   private:
    const LowRankInverse* inverse_;  // Borrowed, never null.
    FactoredGradients left_;         // In their own dtype.
    at::Tensor weighted_;            // q U diag(weights_), float64 [M, k].
  };

  // The left gradients transformed and written out.
  class DenseLeft : public PreparedGrads {
   public:
    explicit DenseLeft(at::Tensor transformed)
        : transformed_(std::move(transformed)) {}

    int64_t num_samples() const override { return transformed_.size(0); }
    int64_t num_parameters() const override { return transformed_.size(1); }

   protected:
    absl::StatusOr<at::Tensor> DoTransformedGrads() const override {
      return transformed_;
    }

    absl::StatusOr<at::Tensor> DoGradsInnerProd(
        const FactoredGradients& right) const override {
      INFLUENCE_ASSIGN_OR_RETURN(at::Tensor products,
                                 right.Contract(transformed_));
      return products.t();
    }

   private:
    at::Tensor transformed_;  // [M, P]
  };

  // The dtype of coefficients and Gram matrices: the exact form subtracts them
  // from each other.
  static at::ScalarType WorkDtype(const LowRankInverse& inverse,
                                  at::ScalarType dtype) {
    return inverse.form() == LowRankForm::kExact ? at::kDouble : dtype;
  }

  // q U diag(weights_), float64 [M, k].
  static absl::StatusOr<at::Tensor> Weighted(const LowRankInverse& inverse,
                                             const FactoredGradients& grads) {
    INFLUENCE_ASSIGN_OR_RETURN(
        FactoredGradients work,
        ConvertGradients(grads, WorkDtype(inverse, grads.dtype())));
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor products,
                               Project(work, inverse.rows_));
    return products.to(at::kDouble).mul(inverse.weights_);
  }

  // A^-1 q written out, [M, P].
  static absl::StatusOr<at::Tensor> WrittenOut(const LowRankInverse& inverse,
                                               const FactoredGradients& grads,
                                               const at::Tensor& weighted) {
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor written, grads.Flatten());
    AddLowRank(inverse.identity_, weighted, inverse.rows_, written);
    return written;
  }

  // Whether M written-out queries cost less for each sample than their factors.
  static bool WritingIsCheaper(const LowRankInverse& inverse,
                               const FactoredGradients& left) {
    const auto size = static_cast<double>(inverse.input_size());
    const auto num_queries = static_cast<double>(left.num_samples());
    const auto rank = static_cast<double>(inverse.low_rank().rank());
    double factored = rank * size;
    if (inverse.form() == LowRankForm::kExact) {
      factored += num_queries * GramCost(left);
      if (left.dtype() != at::kDouble) factored *= kDoubleCost;
    }
    return num_queries * size < factored;
  }
};

absl::StatusOr<std::unique_ptr<const PreparedGrads>>
LowRankForms::Form::DoPrepareGrads(const FactoredGradients& left) const {
  at::NoGradGuard no_grad;
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor weighted, Weighted(*inverse_, left));
  if (!WritingIsCheaper(*inverse_, left)) {
    return std::make_unique<const FactoredLeft>(inverse_, left,
                                                std::move(weighted));
  }
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor written,
                             WrittenOut(*inverse_, left, weighted));
  return std::make_unique<const DenseLeft>(std::move(written));
}

absl::StatusOr<at::Tensor> LowRankForms::FactoredLeft::DoTransformedGrads()
    const {
  at::NoGradGuard no_grad;
  return WrittenOut(*inverse_, left_, weighted_);
}

absl::StatusOr<at::Tensor> LowRankForms::FactoredLeft::DoGradsInnerProd(
    const FactoredGradients& right) const {
  at::NoGradGuard no_grad;
  const at::ScalarType dtype = WorkDtype(*inverse_, left_.dtype());
  INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients right_work,
                             ConvertGradients(right, dtype));
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor coefficients,
                             Project(right_work, inverse_->rows_));
  at::Tensor products = at::matmul(weighted_.to(dtype), coefficients.t());
  if (inverse_->identity_ != 0) {
    INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients left_work,
                               ConvertGradients(left_, dtype));
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor gram, left_work.Gram(right_work));
    products.add_(gram, inverse_->identity_);
  }
  return products.to(left_.dtype());
}

absl::StatusOr<at::Tensor> LowRankForms::FactoredLeft::DoRowwiseInnerProd(
    const FactoredGradients& right) const {
  at::NoGradGuard no_grad;
  const at::ScalarType dtype = WorkDtype(*inverse_, left_.dtype());
  INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients right_work,
                             ConvertGradients(right, dtype));
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor coefficients,
                             Project(right_work, inverse_->rows_));
  at::Tensor products = weighted_.to(dtype).mul(coefficients).sum(1);
  if (inverse_->identity_ != 0) {
    INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients left_work,
                               ConvertGradients(left_, dtype));
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor plain,
                               left_work.RowwiseInnerProduct(right_work));
    products.add_(plain, inverse_->identity_);
  }
  return products.to(left_.dtype());
}

absl::string_view LowRankFormName(LowRankForm form) {
  return form == LowRankForm::kExact ? "exact" : "projected";
}

absl::StatusOr<LowRankForm> ParseLowRankForm(absl::string_view name) {
  for (const LowRankForm form :
       {LowRankForm::kExact, LowRankForm::kProjected}) {
    if (name == LowRankFormName(form)) return form;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "low-rank inverse: found ", name, ", expected exact or projected"));
}

LowRankInverse::LowRankInverse(LowRank low_rank,
                               const LowRankInverseOptions& options)
    : low_rank_(std::move(low_rank)), options_(options) {}

absl::StatusOr<std::shared_ptr<const LowRankInverse>> LowRankInverse::Create(
    LowRank low_rank, const LowRankInverseOptions& options) {
  INFLUENCE_RETURN_IF_ERROR(ValidateLowRank(low_rank));
  INFLUENCE_RETURN_IF_ERROR(
      ValidateNonNegative("regularization", options.regularization));
  INFLUENCE_RETURN_IF_ERROR(
      ValidatePositive("relative_accuracy", options.relative_accuracy));
  return CatchTorch(
      "low-rank inverse",
      [&]() -> absl::StatusOr<std::shared_ptr<const LowRankInverse>> {
        at::NoGradGuard no_grad;
        std::shared_ptr<LowRankInverse> inverse(
            new LowRankInverse(std::move(low_rank), options));
        INFLUENCE_RETURN_IF_ERROR(inverse->SetWeights());
        inverse->rows_ = inverse->low_rank_.u.t().contiguous();
        inverse->low_rank_.u = inverse->rows_.t();
        return inverse;
      });
}

absl::Status LowRankInverse::SetWeights() {
  const double lambda = options_.regularization;
  const bool exact = options_.form == LowRankForm::kExact;
  if (exact && lambda == 0) {
    return absl::InvalidArgumentError(
        "regularization: found 0, expected a value > 0 with the exact form of "
        "a low-rank inverse (--regularization)");
  }
  const at::Tensor d = low_rank_.d.contiguous();
  const auto* values = d.data_ptr<double>();
  const int64_t rank = low_rank_.rank();
  double largest = 0;
  for (int64_t i = 0; i < rank; ++i) {
    largest = std::max(largest, std::abs(values[i]));
  }
  const double noise = options_.relative_accuracy * largest *
                       static_cast<double>(low_rank_.num_parameters());
  const double smallest = std::max(largest, lambda) *
                          (lambda > 0 ? kEpsilon : options_.relative_accuracy);
  weights_ = at::zeros({rank}, at::kDouble);
  auto* weights = weights_.data_ptr<double>();
  for (int64_t i = 0; i < rank; ++i) {
    const double value = values[i];
    if (value < -noise) ++num_negative_;
    if (!exact && std::abs(value) <= noise) {
      ++num_dropped_;
      continue;
    }
    if (std::abs(value + lambda) <= smallest) {
      return absl::InvalidArgumentError(
          absl::StrCat("regularization: found ", lambda,
                       ", which cancels an eigenvalue of the curvature (",
                       value, "; the largest has magnitude ", largest,
                       "), expected another value (--regularization)"));
    }
    weights[i] =
        exact ? -value / (value + lambda) / lambda : 1 / (value + lambda);
  }
  if (lambda == 0 && num_dropped_ == rank) {
    return absl::InvalidArgumentError(
        "regularization: found 0, with which the curvature is singular (all "
        "its eigenvalues are zero), expected a larger value "
        "(--regularization)");
  }
  identity_ = exact ? 1 / lambda : 0;
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const LowRankInverse>>
LowRankInverse::WithRegularization(double regularization) const {
  LowRankInverseOptions options = options_;
  options.regularization = regularization;
  return Create(low_rank_, options);
}

std::unique_ptr<const BilinearForm> LowRankInverse::AsBilinearForm() const {
  return std::make_unique<const LowRankForms::Form>(this);
}

absl::StatusOr<at::Tensor> LowRankInverse::DoApply(
    const at::Tensor& matrix) const {
  at::NoGradGuard no_grad;
  at::Tensor result = matrix.detach().clone(at::MemoryFormat::Contiguous);
  AddLowRank(identity_, Coefficients(matrix, rows_).mul_(weights_), rows_,
             result);
  return result;
}

}  // namespace influence
