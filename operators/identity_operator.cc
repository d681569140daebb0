// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/identity_operator.h"

#include <memory>

#include "gradients/factored_gradients.h"

namespace influence {
namespace {

// Keeps the factors; they are written out for mixed products only.
class FactoredPreparedGrads : public PreparedGrads {
 public:
  explicit FactoredPreparedGrads(const FactoredGradients& left) : left_(left) {}

  int64_t num_samples() const override { return left_.num_samples(); }
  int64_t num_parameters() const override { return left_.num_parameters(); }

 protected:
  absl::StatusOr<at::Tensor> DoTransformedGrads() const override {
    return left_.Flatten();
  }

  absl::StatusOr<at::Tensor> DoGradsInnerProd(
      const FactoredGradients& right) const override {
    return left_.Gram(right);
  }

  absl::StatusOr<at::Tensor> DoRowwiseInnerProd(
      const FactoredGradients& right) const override {
    return left_.RowwiseInnerProduct(right);
  }

 private:
  FactoredGradients left_;
};

class EuclideanForm : public BilinearForm {
 public:
  explicit EuclideanForm(int64_t input_size) : input_size_(input_size) {}

  int64_t input_size() const override { return input_size_; }

 protected:
  absl::StatusOr<at::Tensor> Transform(const at::Tensor& left) const override {
    return left;
  }

  absl::StatusOr<std::unique_ptr<const PreparedGrads>> DoPrepareGrads(
      const FactoredGradients& left) const override {
    return std::make_unique<const FactoredPreparedGrads>(left);
  }

 private:
  int64_t input_size_;
};

}  // namespace

std::unique_ptr<const BilinearForm> IdentityOperator::AsBilinearForm() const {
  return std::make_unique<const EuclideanForm>(input_size_);
}

absl::StatusOr<at::Tensor> IdentityOperator::DoApply(
    const at::Tensor& matrix) const {
  return matrix.clone();
}

}  // namespace influence
