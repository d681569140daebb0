// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/gradient_factors.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "ATen/ops/empty.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "gradients/gradient_term.h"

namespace influence {
namespace {

// Scalars of a tile that is written out: 16 MiB of float64.
constexpr int64_t kTileScalars = int64_t{1} << 21;

// Samples of more scalars are not written out.
constexpr int64_t kMaxWrittenSize = int64_t{1} << 20;

// A term seen in another dtype.
class ConvertedTerm : public GradientTerm {
 public:
  ConvertedTerm(std::shared_ptr<const GradientTerm> term, at::ScalarType own,
                at::ScalarType dtype)
      : GradientTerm(term->num_samples(), term->offset(), term->size()),
        term_(std::move(term)),
        own_(own),
        dtype_(dtype) {}

  void Write(int64_t begin, int64_t end, bool accumulate,
             const at::Tensor& out) const override {
    const at::Tensor written = at::empty({end - begin, size()}, own_);
    term_->Write(begin, end, /*accumulate=*/false, written);
    if (accumulate) {
      out.add_(written);
    } else {
      out.copy_(written);
    }
  }

  at::Tensor Contract(const at::Tensor& matrix) const override {
    if (size() <= kMaxWrittenSize) return ContractWritten(matrix);
    return term_->Contract(matrix.to(own_)).to(dtype_);
  }

  at::Tensor WeightedSum(const at::Tensor& weights) const override {
    if (size() > kMaxWrittenSize) {
      return term_->WeightedSum(weights.to(own_)).to(dtype_);
    }
    at::Tensor sums = at::zeros({weights.size(0), size()}, dtype_);
    const int64_t tile = std::max<int64_t>(1, kTileScalars / size());
    for (int64_t begin = 0; begin < num_samples(); begin += tile) {
      const int64_t end = std::min(num_samples(), begin + tile);
      const at::Tensor written = at::empty({end - begin, size()}, dtype_);
      Write(begin, end, /*accumulate=*/false, written);
      sums.addmm_(weights.narrow(1, begin, end - begin), written);
    }
    return sums;
  }

 protected:
  at::Tensor GramSameRange(const GradientTerm& other) const override {
    const auto* converted = dynamic_cast<const ConvertedTerm*>(&other);
    if (converted == nullptr || size() <= kMaxWrittenSize) return at::Tensor();
    return term_->Gram(*converted->term_).to(dtype_);
  }

  at::Tensor RowwiseSameRange(const GradientTerm& other) const override {
    const auto* converted = dynamic_cast<const ConvertedTerm*>(&other);
    if (converted == nullptr || size() <= kMaxWrittenSize) return at::Tensor();
    return term_->RowwiseInnerProduct(*converted->term_).to(dtype_);
  }

  at::TensorOptions Options() const override { return at::dtype(dtype_); }

 private:
  std::shared_ptr<const GradientTerm> term_;
  at::ScalarType own_;
  at::ScalarType dtype_;
};

std::shared_ptr<const GradientTerm> Convert(
    const std::shared_ptr<const GradientTerm>& term, at::ScalarType own,
    at::ScalarType dtype) {
  const auto* product = dynamic_cast<const OuterProductTerm*>(term.get());
  if (product != nullptr) {
    return std::make_shared<const OuterProductTerm>(
        term->offset(), product->left().to(dtype), product->right().to(dtype));
  }
  const auto* dense = dynamic_cast<const DenseTerm*>(term.get());
  if (dense != nullptr) {
    return std::make_shared<const DenseTerm>(term->offset(),
                                             dense->gradients().to(dtype));
  }
  return std::make_shared<const ConvertedTerm>(term, own, dtype);
}

}  // namespace

absl::StatusOr<FactoredGradients> ConvertGradients(
    const FactoredGradients& grads, at::ScalarType dtype) {
  if (dtype == grads.dtype()) return grads;
  if (dtype != at::kFloat && dtype != at::kDouble) {
    return absl::InvalidArgumentError(absl::StrCat(
        "dtype: found ", DtypeName(dtype), ", expected float32 or float64"));
  }
  return CatchTorch("gradients", [&]() -> absl::StatusOr<FactoredGradients> {
    std::vector<FactoredParameter> converted = grads.parameters();
    for (FactoredParameter& parameter : converted) {
      for (auto& term : parameter.terms) {
        term = Convert(term, grads.dtype(), dtype);
      }
    }
    return FactoredGradients(grads.num_samples(), dtype, std::move(converted));
  });
}

double GramCost(const FactoredGradients& grads) {
  double cost = 0;
  for (const FactoredParameter& parameter : grads.parameters()) {
    for (const auto& term : parameter.terms) {
      auto written = static_cast<double>(term->size());
      const auto* product = dynamic_cast<const OuterProductTerm*>(term.get());
      if (product != nullptr) {
        const at::Tensor& left = product->left();
        const auto t = static_cast<double>(left.size(2));
        const auto sides = static_cast<double>(
            left.size(1) * (left.size(3) + product->right().size(3)));
        written = std::min(written, t * t * (sides + 4));
      }
      cost += written;
    }
  }
  return cost;
}

double StoredBytes(const FactoredGradients& grads) {
  double scalars = 0;
  for (const FactoredParameter& parameter : grads.parameters()) {
    for (const auto& term : parameter.terms) {
      const auto* product = dynamic_cast<const OuterProductTerm*>(term.get());
      scalars += product != nullptr
                     ? static_cast<double>(product->left().numel()) +
                           static_cast<double>(product->right().numel())
                     : static_cast<double>(term->size()) *
                           static_cast<double>(term->num_samples());
    }
  }
  return scalars * static_cast<double>(at::elementSize(grads.dtype()));
}

int64_t FactorBytesPerSample(const FactoredGradients& grads) {
  int64_t scalars = 0;
  for (const FactoredParameter& parameter : grads.parameters()) {
    for (const auto& term : parameter.terms) {
      const auto* product = dynamic_cast<const OuterProductTerm*>(term.get());
      if (product != nullptr) {
        scalars += product->left().numel() + product->right().numel();
      }
    }
  }
  const int64_t width = grads.dtype() == at::kDouble ? 8 : 4;
  return scalars * width / grads.num_samples();
}

}  // namespace influence
