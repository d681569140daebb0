// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/factored_gradients.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "gradients/gradient_term.h"

namespace influence {
namespace {

// Accepts a vector [size] or a matrix [K, size] of dtype `dtype`; the matrix
// form in either case.
absl::StatusOr<at::Tensor> AsMatrix(absl::string_view name,
                                    const at::Tensor& tensor, int64_t size,
                                    at::ScalarType dtype) {
  INFLUENCE_RETURN_IF_ERROR(ValidateVectorOrMatrix(name, tensor, size));
  if (tensor.scalar_type() != dtype) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": found dtype ", DtypeName(tensor.scalar_type()),
                     ", expected ", DtypeName(dtype), ", the gradients'"));
  }
  return tensor.dim() == 1 ? tensor.unsqueeze(0) : tensor;
}

// Scalars of a tile of written-out gradients: 16 MiB in float32.
constexpr int64_t kTileScalars = int64_t{1} << 22;

bool AnyOverlap(const std::vector<std::shared_ptr<const GradientTerm>>& terms) {
  for (size_t i = 0; i < terms.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (terms[i]->offset() < terms[j]->offset() + terms[j]->size() &&
          terms[j]->offset() < terms[i]->offset() + terms[i]->size()) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace

FactoredGradients::FactoredGradients(int64_t num_samples, at::ScalarType dtype,
                                     std::vector<FactoredParameter> parameters)
    : num_samples_(num_samples),
      dtype_(dtype),
      parameters_(std::move(parameters)) {
  for (const FactoredParameter& parameter : parameters_) {
    for (const auto& term : parameter.terms) {
      INFLUENCE_CHECK(term->num_samples() == num_samples_);
      INFLUENCE_CHECK(term->offset() >= 0 &&
                      term->offset() + term->size() <= parameter.size);
    }
    num_parameters_ += parameter.size;
  }
}

absl::StatusOr<at::Tensor> FactoredGradients::Flatten() const {
  return FlattenRows(0, num_samples_);
}

absl::StatusOr<at::Tensor> FactoredGradients::FlattenRows(int64_t begin,
                                                          int64_t end) const {
  if (begin < 0 || end < begin || end > num_samples_) {
    return absl::InvalidArgumentError(
        absl::StrCat("rows: found [", begin, ", ", end,
                     "), expected a range in [0, ", num_samples_, ")"));
  }
  return CatchTorch("flat gradients", [&]() -> absl::StatusOr<at::Tensor> {
    const at::Tensor flat =
        at::empty({end - begin, num_parameters_}, at::dtype(dtype_));
    WriteRows(begin, end, flat);
    return flat;
  });
}

absl::Status FactoredGradients::FlattenInto(const at::Tensor& out) const {
  INFLUENCE_RETURN_IF_ERROR(
      ValidateShape("out", out, {num_samples_, num_parameters_}));
  if (out.scalar_type() != dtype_) {
    return absl::InvalidArgumentError(
        absl::StrCat("out: found dtype ", DtypeName(out.scalar_type()),
                     ", expected ", DtypeName(dtype_), ", the gradients'"));
  }
  return CatchTorch("flat gradients", [&]() -> absl::Status {
    WriteRows(0, num_samples_, out);
    return absl::OkStatus();
  });
}

void FactoredGradients::WriteRows(int64_t begin, int64_t end,
                                  const at::Tensor& out) const {
  int64_t offset = 0;
  for (const FactoredParameter& parameter : parameters_) {
    // A single term that fills the whole parameter overwrites.
    const bool written = parameter.terms.size() == 1 &&
                         parameter.terms[0]->size() == parameter.size;
    if (!written) out.narrow(1, offset, parameter.size).zero_();
    for (const auto& term : parameter.terms) {
      term->Write(begin, end, /*accumulate=*/!written,
                  out.narrow(1, offset + term->offset(), term->size()));
    }
    offset += parameter.size;
  }
}

absl::StatusOr<at::Tensor> FactoredGradients::Contract(
    const at::Tensor& matrix) const {
  return CatchTorch("gradient products", [&]() -> absl::StatusOr<at::Tensor> {
    INFLUENCE_ASSIGN_OR_RETURN(
        at::Tensor rows, AsMatrix("matrix", matrix, num_parameters_, dtype_));
    at::Tensor products =
        at::zeros({num_samples_, rows.size(0)}, at::dtype(dtype_));
    int64_t offset = 0;
    for (const FactoredParameter& parameter : parameters_) {
      for (const auto& term : parameter.terms) {
        products.add_(term->Contract(
            rows.narrow(1, offset + term->offset(), term->size())));
      }
      offset += parameter.size;
    }
    return matrix.dim() == 1 ? products.squeeze(1) : products;
  });
}

absl::StatusOr<at::Tensor> FactoredGradients::WeightedSum(
    const at::Tensor& weights) const {
  return CatchTorch("weighted gradients", [&]() -> absl::StatusOr<at::Tensor> {
    INFLUENCE_ASSIGN_OR_RETURN(
        at::Tensor rows, AsMatrix("weights", weights, num_samples_, dtype_));
    at::Tensor sums =
        at::zeros({rows.size(0), num_parameters_}, at::dtype(dtype_));
    int64_t offset = 0;
    for (const FactoredParameter& parameter : parameters_) {
      for (const auto& term : parameter.terms) {
        sums.narrow(1, offset + term->offset(), term->size())
            .add_(term->WeightedSum(rows));
      }
      offset += parameter.size;
    }
    return weights.dim() == 1 ? sums.squeeze(0) : sums;
  });
}

absl::StatusOr<at::Tensor> FactoredGradients::Gram(
    const FactoredGradients& other) const {
  if (other.parameters_.size() != parameters_.size() ||
      other.num_parameters_ != num_parameters_) {
    return absl::InvalidArgumentError(absl::StrCat(
        "other gradients: found ", other.num_parameters_, " parameters in ",
        other.parameters_.size(), " tensors, expected ", num_parameters_,
        " in ", parameters_.size()));
  }
  if (other.dtype_ != dtype_) {
    return absl::InvalidArgumentError(
        absl::StrCat("other gradients: found dtype ", DtypeName(other.dtype_),
                     ", expected ", DtypeName(dtype_)));
  }
  return CatchTorch("Gram matrix", [&]() -> absl::StatusOr<at::Tensor> {
    at::Tensor gram =
        at::zeros({num_samples_, other.num_samples_}, at::dtype(dtype_));
    for (size_t i = 0; i < parameters_.size(); ++i) {
      for (const auto& term : parameters_[i].terms) {
        for (const auto& other_term : other.parameters_[i].terms) {
          if (term->offset() + term->size() <= other_term->offset() ||
              other_term->offset() + other_term->size() <= term->offset()) {
            continue;
          }
          gram.add_(term->Gram(*other_term));
        }
      }
    }
    return gram;
  });
}

absl::StatusOr<at::Tensor> FactoredGradients::SquaredNorms() const {
  return RowwiseInnerProduct(*this);
}

absl::StatusOr<at::Tensor> FactoredGradients::SumOfSquares() const {
  return CatchTorch("squared gradients", [&]() -> absl::StatusOr<at::Tensor> {
    at::Tensor sums = at::zeros({num_parameters_}, at::kDouble);
    int64_t offset = 0;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const FactoredParameter& parameter = parameters_[i];
      const at::Tensor out = sums.narrow(0, offset, parameter.size);
      offset += parameter.size;
      if (!AnyOverlap(parameter.terms)) {
        for (const auto& term : parameter.terms) {
          out.narrow(0, term->offset(), term->size())
              .copy_(term->SumOfSquares());
        }
        continue;
      }
      // The gradient is a sum: it is written out before it is squared.
      INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients part,
                                 Select({static_cast<int64_t>(i)}));
      const int64_t tile_rows =
          std::max<int64_t>(1, kTileScalars / parameter.size);
      for (int64_t row = 0; row < num_samples_; row += tile_rows) {
        INFLUENCE_ASSIGN_OR_RETURN(
            const at::Tensor tile,
            part.FlattenRows(row, std::min(num_samples_, row + tile_rows)));
        out.add_(tile.square().sum({0}));
      }
    }
    return sums;
  });
}

absl::StatusOr<at::Tensor> FactoredGradients::RowwiseInnerProduct(
    const FactoredGradients& other) const {
  if (other.num_samples_ != num_samples_) {
    return absl::InvalidArgumentError(
        absl::StrCat("other gradients: found ", other.num_samples_,
                     " samples, expected ", num_samples_));
  }
  if (other.parameters_.size() != parameters_.size() ||
      other.num_parameters_ != num_parameters_) {
    return absl::InvalidArgumentError(absl::StrCat(
        "other gradients: found ", other.num_parameters_, " parameters in ",
        other.parameters_.size(), " tensors, expected ", num_parameters_,
        " in ", parameters_.size()));
  }
  return CatchTorch("row products", [&]() -> absl::StatusOr<at::Tensor> {
    at::Tensor products = at::zeros({num_samples_}, at::dtype(dtype_));
    for (size_t i = 0; i < parameters_.size(); ++i) {
      for (const auto& term : parameters_[i].terms) {
        for (const auto& other_term : other.parameters_[i].terms) {
          products.add_(term->RowwiseInnerProduct(*other_term));
        }
      }
    }
    return products;
  });
}

absl::StatusOr<FactoredGradients> FactoredGradients::Select(
    const std::vector<int64_t>& indices) const {
  std::vector<FactoredParameter> selected;
  selected.reserve(indices.size());
  for (const int64_t index : indices) {
    if (index < 0 || index >= static_cast<int64_t>(parameters_.size())) {
      return absl::InvalidArgumentError(
          absl::StrCat("parameter index: found ", index,
                       ", expected a value in [0, ", parameters_.size(), ")"));
    }
    selected.push_back(parameters_[index]);
  }
  return FactoredGradients(num_samples_, dtype_, std::move(selected));
}

}  // namespace influence
