// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/bilinear_form.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "ATen/ops/empty.h"
#include "ATen/ops/matmul.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/missing_rows.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"

namespace influence {
namespace {

// Of the right gradients that are written out at a time.
constexpr int64_t kTileScalars = int64_t{1} << 24;

absl::Status CheckSize(absl::string_view what, int64_t found,
                       int64_t expected) {
  if (found == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      what, ": found ", found, " parameters, expected ", expected));
}

absl::Status CheckDtypes(absl::string_view name, at::ScalarType found,
                         at::ScalarType expected) {
  if (found == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": found dtype ", DtypeName(found), ", expected ",
                   DtypeName(expected)));
}

// The left gradients written out and transformed.
class DensePreparedGrads : public PreparedGrads {
 public:
  DensePreparedGrads(at::Tensor transformed, std::vector<SolveReport> reports)
      : transformed_(std::move(transformed)),
        reports_(std::move(reports)),
        missing_(RowsWithoutAnswer(reports_)) {}

  int64_t num_samples() const override { return transformed_.size(0); }
  int64_t num_parameters() const override { return transformed_.size(1); }
  std::vector<SolveReport> solve_reports() const override { return reports_; }

 protected:
  absl::StatusOr<at::Tensor> DoTransformedGrads() const override {
    return transformed_;
  }

  absl::StatusOr<at::Tensor> DoGradsInnerProd(
      const FactoredGradients& right) const override {
    INFLUENCE_ASSIGN_OR_RETURN(
        at::Tensor products,
        right.Contract(WithoutMissingRows(transformed_, missing_)));
    return WithMissingRows(products.t(), missing_);
  }

 private:
  at::Tensor transformed_;  // [N, D]
  std::vector<SolveReport> reports_;
  std::vector<int64_t> missing_;  // Rows of transformed_.
};

}  // namespace

absl::StatusOr<at::Tensor> PreparedGrads::TransformedGrads() const {
  return CatchTorch("transformed gradients",
                    [&] { return DoTransformedGrads(); });
}

absl::StatusOr<at::Tensor> PreparedGrads::GradsInnerProd(
    const FactoredGradients& right) const {
  INFLUENCE_RETURN_IF_ERROR(
      CheckSize("right gradients", right.num_parameters(), num_parameters()));
  return CatchTorch("inner product of gradients",
                    [&] { return DoGradsInnerProd(right); });
}

absl::StatusOr<at::Tensor> PreparedGrads::RowwiseInnerProd(
    const FactoredGradients& right) const {
  INFLUENCE_RETURN_IF_ERROR(
      CheckSize("right gradients", right.num_parameters(), num_parameters()));
  if (right.num_samples() != num_samples()) {
    return absl::InvalidArgumentError(
        absl::StrCat("right gradients: found ", right.num_samples(),
                     " samples, expected ", num_samples()));
  }
  return CatchTorch("rowwise inner product of gradients",
                    [&] { return DoRowwiseInnerProd(right); });
}

absl::StatusOr<at::Tensor> PreparedGrads::DoRowwiseInnerProd(
    const FactoredGradients& right) const {
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor transformed,
                             DoTransformedGrads());
  at::Tensor products = at::empty({num_samples()}, transformed.options());
  const int64_t rows = std::max<int64_t>(
      kTileScalars / std::max<int64_t>(num_parameters(), 1), 1);
  for (int64_t begin = 0; begin < num_samples(); begin += rows) {
    const int64_t end = std::min(begin + rows, num_samples());
    INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor tile,
                               right.FlattenRows(begin, end));
    products.slice(0, begin, end)
        .copy_(transformed.slice(0, begin, end).mul(tile).sum(1));
  }
  return products;
}

absl::StatusOr<at::Tensor> PreparedGrads::MixedGradsInnerProd(
    const Batch& right, const GradientProvider& provider, int64_t input) const {
  INFLUENCE_RETURN_IF_ERROR(CheckSize(
      "right gradients", provider.num_parameters(), num_parameters()));
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor transformed, TransformedGrads());
  const std::vector<int64_t> missing = RowsWithoutAnswer(solve_reports());
  INFLUENCE_ASSIGN_OR_RETURN(
      at::Tensor products,
      provider.MixedProd(right, WithoutMissingRows(transformed, missing),
                         input));
  return CatchTorch("inner product of gradients",
                    [&]() -> absl::StatusOr<at::Tensor> {
                      return WithMissingRows(products, missing);
                    });
}

absl::StatusOr<at::Tensor> BilinearForm::InnerProd(
    const at::Tensor& left, const std::optional<at::Tensor>& right) const {
  INFLUENCE_RETURN_IF_ERROR(ValidateVectorOrMatrix("left", left, input_size()));
  if (right.has_value()) {
    INFLUENCE_RETURN_IF_ERROR(ValidateFloating("right", *right));
    if (right->dim() < 1 || right->size(-1) != input_size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("right: found shape ", ShapeString(*right),
                       ", expected last dimension ", input_size()));
    }
    INFLUENCE_RETURN_IF_ERROR(
        CheckDtypes("right", right->scalar_type(), left.scalar_type()));
  }
  return CatchTorch("inner product", [&]() -> absl::StatusOr<at::Tensor> {
    const at::Tensor matrix = left.dim() == 1 ? left.unsqueeze(0) : left;
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor transformed, Transform(matrix));
    const at::Tensor& other = right.has_value() ? *right : left;
    // One matrix product over the flattened leading dimensions of the right
    // side, in their order: [N, D] x [M * ..., D]^T.
    at::Tensor products =
        at::matmul(transformed, other.reshape({-1, input_size()}).t());
    std::vector<int64_t> shape;
    if (left.dim() == 2) shape.push_back(left.size(0));
    for (int64_t d = 0; d + 1 < other.dim(); ++d) {
      shape.push_back(other.size(d));
    }
    return products.reshape(shape);
  });
}

absl::StatusOr<std::unique_ptr<const PreparedGrads>> BilinearForm::PrepareGrads(
    const FactoredGradients& left) const {
  INFLUENCE_RETURN_IF_ERROR(
      CheckSize("left gradients", left.num_parameters(), input_size()));
  return CatchTorch("transformed gradients",
                    [&] { return DoPrepareGrads(left); });
}

absl::StatusOr<std::unique_ptr<const PreparedGrads>>
BilinearForm::DoPrepareGrads(const FactoredGradients& left) const {
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor grads, left.Flatten());
  std::vector<SolveReport> reports;
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor transformed,
                             TransformWithReports(grads, &reports));
  return std::make_unique<const DensePreparedGrads>(std::move(transformed),
                                                    std::move(reports));
}

absl::StatusOr<at::Tensor> BilinearForm::TransformWithReports(
    const at::Tensor& left, std::vector<SolveReport>* /*reports*/) const {
  return Transform(left);
}

absl::StatusOr<at::Tensor> BilinearForm::GradsInnerProd(
    const FactoredGradients& left, const FactoredGradients& right) const {
  INFLUENCE_ASSIGN_OR_RETURN(std::unique_ptr<const PreparedGrads> prepared,
                             PrepareGrads(left));
  return prepared->GradsInnerProd(right);
}

absl::StatusOr<at::Tensor> BilinearForm::GradsInnerProd(
    const Batch& left, const std::optional<Batch>& right,
    const GradientProvider& provider) const {
  INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients left_grads,
                             provider.FactoredGrads(left));
  if (!right.has_value()) return GradsInnerProd(left_grads, left_grads);
  INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients right_grads,
                             provider.FactoredGrads(*right));
  return GradsInnerProd(left_grads, right_grads);
}

absl::StatusOr<at::Tensor> BilinearForm::MixedGradsInnerProd(
    const Batch& left, const std::optional<Batch>& right,
    const GradientProvider& provider, int64_t input) const {
  INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients left_grads,
                             provider.FactoredGrads(left));
  INFLUENCE_ASSIGN_OR_RETURN(std::unique_ptr<const PreparedGrads> prepared,
                             PrepareGrads(left_grads));
  return prepared->MixedGradsInnerProd(right.has_value() ? *right : left,
                                       provider, input);
}

}  // namespace influence
