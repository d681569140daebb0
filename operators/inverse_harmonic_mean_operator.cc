// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/inverse_harmonic_mean_operator.h"

#include <cstddef>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/matmul.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/validators.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "operators/gradient_factors.h"

namespace influence {

// The bilinear form and its left sides.
class InverseHarmonicMeanForms {
 public:
  class Form : public BilinearForm {
   public:
    explicit Form(const InverseHarmonicMeanOperator* op) : op_(op) {}

    int64_t input_size() const override { return op_->input_size(); }

   protected:
    absl::StatusOr<at::Tensor> Transform(
        const at::Tensor& left) const override {
      return op_->Apply(left);
    }

    absl::StatusOr<std::unique_ptr<const PreparedGrads>> DoPrepareGrads(
        const FactoredGradients& left) const override;

   private:
    const InverseHarmonicMeanOperator* op_;  // Borrowed, never null.
  };

  // The left gradients as factors, and their weighted products with the data's.
  class FactoredLeft : public PreparedGrads {
   public:
    FactoredLeft(const InverseHarmonicMeanOperator* op, FactoredGradients left,
                 std::vector<at::Tensor> weights)
        : op_(op), left_(std::move(left)), weights_(std::move(weights)) {}

    int64_t num_samples() const override { return left_.num_samples(); }
    int64_t num_parameters() const override { return left_.num_parameters(); }

   protected:
    absl::StatusOr<at::Tensor> DoTransformedGrads() const override;
    absl::StatusOr<at::Tensor> DoGradsInnerProd(
        const FactoredGradients& right) const override;
    absl::StatusOr<at::Tensor> DoRowwiseInnerProd(
        const FactoredGradients& right) const override;

   private:
    const InverseHarmonicMeanOperator* op_;  // Borrowed, never null.
    FactoredGradients left_;
    std::vector<at::Tensor> weights_;  // A batch each, [M, n].
  };

  // Whether Gram products cost less than transformed queries, for about as many
  // samples to be scored as there are in the data.
  static bool GramIsCheaper(const InverseHarmonicMeanOperator& op,
                            const FactoredGradients& left) {
    if (!op.gradients_->is_kept()) return false;
    const auto num_queries = static_cast<double>(left.num_samples());
    const auto num_samples = static_cast<double>(op.gradients_->num_samples());
    const double gram = GramCost(left);
    return num_samples * gram + num_queries * (num_samples + gram) <
           2 * num_queries * static_cast<double>(op.size_);
  }
};

absl::StatusOr<std::unique_ptr<const PreparedGrads>>
InverseHarmonicMeanForms::Form::DoPrepareGrads(
    const FactoredGradients& left) const {
  at::NoGradGuard no_grad;
  if (!GramIsCheaper(*op_, left)) return BilinearForm::DoPrepareGrads(left);
  std::vector<at::Tensor> weights;
  for (int64_t i = 0; i < op_->gradients_->num_batches(); ++i) {
    INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients batch, op_->BlockGradients(i));
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor products, batch.Gram(left));
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor weight,
                               op_->Weights(batch, products));
    weights.push_back(std::move(weight));
  }
  return std::make_unique<const FactoredLeft>(op_, left, std::move(weights));
}

absl::StatusOr<at::Tensor>
InverseHarmonicMeanForms::FactoredLeft::DoTransformedGrads() const {
  at::NoGradGuard no_grad;
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor written, left_.Flatten());
  at::Tensor sum = written.to(at::kDouble);
  for (size_t i = 0; i < weights_.size(); ++i) {
    INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients batch,
                               op_->BlockGradients(static_cast<int64_t>(i)));
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor part, batch.WeightedSum(weights_[i]));
    sum.sub_(part);
  }
  return sum.div_(op_->regularization_).to(left_.dtype());
}

absl::StatusOr<at::Tensor>
InverseHarmonicMeanForms::FactoredLeft::DoGradsInnerProd(
    const FactoredGradients& right) const {
  at::NoGradGuard no_grad;
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor plain, left_.Gram(right));
  at::Tensor sum = plain.to(at::kDouble);
  for (size_t i = 0; i < weights_.size(); ++i) {
    INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients batch,
                               op_->BlockGradients(static_cast<int64_t>(i)));
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor gram, batch.Gram(right));
    sum.sub_(at::matmul(weights_[i], gram));
  }
  return sum.div_(op_->regularization_).to(left_.dtype());
}

absl::StatusOr<at::Tensor>
InverseHarmonicMeanForms::FactoredLeft::DoRowwiseInnerProd(
    const FactoredGradients& right) const {
  at::NoGradGuard no_grad;
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor plain,
                             left_.RowwiseInnerProduct(right));
  at::Tensor sum = plain.to(at::kDouble);
  for (size_t i = 0; i < weights_.size(); ++i) {
    INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients batch,
                               op_->BlockGradients(static_cast<int64_t>(i)));
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor gram, batch.Gram(right));
    sum.sub_(weights_[i].mul(gram.t()).sum(1));
  }
  return sum.div_(op_->regularization_).to(left_.dtype());
}

InverseHarmonicMeanOperator::InverseHarmonicMeanOperator(
    std::shared_ptr<const KeptGradients> gradients,
    std::vector<int64_t> positions, double regularization)
    : gradients_(std::move(gradients)),
      positions_(std::move(positions)),
      regularization_(regularization) {}

absl::StatusOr<std::shared_ptr<const InverseHarmonicMeanOperator>>
InverseHarmonicMeanOperator::Create(
    std::shared_ptr<const KeptGradients> gradients,
    std::vector<int64_t> positions, double regularization) {
  if (gradients == nullptr) {
    return absl::InvalidArgumentError("gradients: is null");
  }
  INFLUENCE_RETURN_IF_ERROR(ValidatePositive("regularization", regularization));
  if (positions.empty()) {
    return absl::InvalidArgumentError(
        "parameter indices: found none, expected at least one");
  }
  const GradientProvider& provider = gradients->provider();
  const auto count = static_cast<int64_t>(provider.selection().size());
  std::shared_ptr<InverseHarmonicMeanOperator> op(
      new InverseHarmonicMeanOperator(std::move(gradients),
                                      std::move(positions), regularization));
  for (const int64_t position : op->positions_) {
    if (position < 0 || position >= count) {
      return absl::InvalidArgumentError(
          absl::StrCat("parameter indices: found ", position, ", expected [0, ",
                       count, ")"));
    }
    const int64_t index = provider.selection()[position];
    op->size_ += provider.model().parameters()[index].tensor.numel();
  }
  return op;
}

absl::StatusOr<std::shared_ptr<const InverseHarmonicMeanOperator>>
InverseHarmonicMeanOperator::WithRegularization(double regularization) const {
  return Create(gradients_, positions_, regularization);
}

absl::StatusOr<FactoredGradients> InverseHarmonicMeanOperator::BlockGradients(
    int64_t batch) const {
  INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients all,
                             gradients_->Get(batch));
  return all.Select(positions_);
}

absl::StatusOr<at::Tensor> InverseHarmonicMeanOperator::Weights(
    const FactoredGradients& batch, const at::Tensor& products) const {
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor squared_norms, batch.SquaredNorms());
  return products.t().div(
      squared_norms.add_(regularization_)
          .mul_(static_cast<double>(gradients_->num_samples())));
}

std::unique_ptr<const BilinearForm>
InverseHarmonicMeanOperator::AsBilinearForm() const {
  return std::make_unique<const InverseHarmonicMeanForms::Form>(this);
}

absl::StatusOr<at::Tensor> InverseHarmonicMeanOperator::DoApply(
    const at::Tensor& matrix) const {
  at::NoGradGuard no_grad;
  at::Tensor sum = matrix.to(at::kDouble, /*non_blocking=*/false,
                             /*copy=*/true);
  for (int64_t i = 0; i < gradients_->num_batches(); ++i) {
    INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients batch, BlockGradients(i));
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor products, batch.Contract(matrix));
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor weights, Weights(batch, products));
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor part, batch.WeightedSum(weights));
    sum.sub_(part);
  }
  return sum.div_(regularization_).to(matrix.scalar_type());
}

}  // namespace influence
