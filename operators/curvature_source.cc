// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/curvature_source.h"

#include <utility>
#include <vector>

#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "base/rounding_unit.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "gradients/batch.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "operators/batch_averaging_operator.h"
#include "operators/dense_curvature.h"
#include "operators/inverse_harmonic_mean_batch_operation.h"
#include "operators/jacobi_preconditioner.h"

namespace influence {
namespace {

class ProviderSource : public CurvatureSource {
 public:
  explicit ProviderSource(std::shared_ptr<const GradientProvider> provider)
      : provider_(std::move(provider)) {}

  int64_t num_parameters() const override {
    return provider_->num_parameters();
  }
  at::ScalarType dtype() const override { return provider_->model().dtype(); }

  absl::StatusOr<std::shared_ptr<const Operator>> Products(
      Curvature curvature, std::shared_ptr<const BatchSequence> data,
      double regularization) const override {
    BatchAveragingOptions options;
    options.regularization = regularization;
    options.merge_small_batches = true;
    return BatchAveragingOperator::Create(
        CreateCurvatureOperation(curvature, provider_), std::move(data),
        options);
  }

  absl::StatusOr<at::Tensor> Dense(Curvature curvature,
                                   const BatchSequence& data) const override {
    ParameterGroup group{"full", {}};
    for (const int64_t index : provider_->selection()) {
      group.parameters.push_back(provider_->model().parameters()[index].name);
    }
    INFLUENCE_ASSIGN_OR_RETURN(
        const ParameterBlocks blocks,
        ParameterBlocks::CreateCustom(provider_->model(), {group}));
    INFLUENCE_ASSIGN_OR_RETURN(
        std::vector<at::Tensor> matrices,
        FormDenseCurvature(curvature, *provider_, blocks, data));
    return std::move(matrices[0]);
  }

  absl::StatusOr<at::Tensor> GaussNewtonDiagonal(
      const BatchSequence& data) const override {
    return influence::GaussNewtonDiagonal(*provider_, data);
  }

  absl::StatusOr<std::shared_ptr<const Operator>> InverseHarmonicMean(
      std::shared_ptr<const BatchSequence> data,
      double regularization) const override {
    INFLUENCE_ASSIGN_OR_RETURN(
        std::shared_ptr<const InverseHarmonicMeanBatchOperation> operation,
        InverseHarmonicMeanBatchOperation::Create(provider_, regularization));
    return BatchAveragingOperator::Create(std::move(operation),
                                          std::move(data));
  }

 private:
  std::shared_ptr<const GradientProvider> provider_;
};

class ClosedFormProducts : public Operator {
 public:
  ClosedFormProducts(std::shared_ptr<const GeneralizedLinearModel> model,
                     Curvature curvature,
                     std::shared_ptr<const BatchSequence> data,
                     double regularization)
      : model_(std::move(model)),
        curvature_(curvature),
        data_(std::move(data)),
        regularization_(regularization) {}

  int64_t input_size() const override { return model_->num_parameters(); }

 protected:
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override {
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor products,
                               curvature_ == Curvature::kGaussNewton
                                   ? model_->GaussNewtonProd(*data_, matrix)
                                   : model_->HessianProd(*data_, matrix));
    products.add_(matrix, regularization_);
    return products.to(matrix.scalar_type());
  }

 private:
  std::shared_ptr<const GeneralizedLinearModel> model_;
  Curvature curvature_;
  std::shared_ptr<const BatchSequence> data_;
  double regularization_;
};

// (v - (1/N) sum_n g_n (g_n^T v) / (lambda + |g_n|^2)) / lambda.
class ClosedFormInverseHarmonicMean : public Operator {
 public:
  ClosedFormInverseHarmonicMean(
      std::shared_ptr<const GeneralizedLinearModel> model,
      std::shared_ptr<const BatchSequence> data, double regularization)
      : model_(std::move(model)),
        data_(std::move(data)),
        regularization_(regularization) {}

  int64_t input_size() const override { return model_->num_parameters(); }

 protected:
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override {
    at::Tensor sum = at::zeros(matrix.sizes(), at::kDouble);
    int64_t num_samples = 0;
    for (int64_t i = 0; i < data_->num_batches(); ++i) {
      INFLUENCE_ASSIGN_OR_RETURN(Batch batch, data_->Get(i));
      INFLUENCE_ASSIGN_OR_RETURN(at::Tensor products,
                                 model_->JacobianProd(batch, matrix));
      INFLUENCE_ASSIGN_OR_RETURN(at::Tensor norms,
                                 model_->SquaredGradNorms(batch));
      products.div_(norms.add_(regularization_).unsqueeze(1));
      INFLUENCE_ASSIGN_OR_RETURN(at::Tensor part,
                                 model_->WeightedGradSums(batch, products.t()));
      sum.add_(part);
      num_samples += batch.size();
    }
    return matrix.to(at::kDouble)
        .sub(sum, 1 / static_cast<double>(num_samples))
        .div_(regularization_)
        .to(matrix.scalar_type());
  }

 private:
  std::shared_ptr<const GeneralizedLinearModel> model_;
  std::shared_ptr<const BatchSequence> data_;
  double regularization_;
};

class ClosedFormSource : public CurvatureSource {
 public:
  explicit ClosedFormSource(std::shared_ptr<const GeneralizedLinearModel> model)
      : model_(std::move(model)) {}

  int64_t num_parameters() const override { return model_->num_parameters(); }
  at::ScalarType dtype() const override { return at::kDouble; }

  absl::StatusOr<std::shared_ptr<const Operator>> Products(
      Curvature curvature, std::shared_ptr<const BatchSequence> data,
      double regularization) const override {
    return std::make_shared<const ClosedFormProducts>(
        model_, curvature, std::move(data), regularization);
  }

  absl::StatusOr<at::Tensor> Dense(Curvature curvature,
                                   const BatchSequence& data) const override {
    return curvature == Curvature::kGaussNewton ? model_->DenseGaussNewton(data)
                                                : model_->DenseHessian(data);
  }

  // sum_n r_nk^2 x_nj^2.
  absl::StatusOr<at::Tensor> GaussNewtonDiagonal(
      const BatchSequence& data) const override {
    return CatchTorch("diagonal", [&]() -> absl::StatusOr<at::Tensor> {
      at::Tensor sum = at::zeros({model_->num_parameters()}, at::kDouble);
      const int64_t weights = model_->weight().numel();
      int64_t num_samples = 0;
      for (int64_t i = 0; i < data.num_batches(); ++i) {
        INFLUENCE_ASSIGN_OR_RETURN(Batch batch, data.Get(i));
        INFLUENCE_ASSIGN_OR_RETURN(at::Tensor grads,
                                   model_->OutputGrads(batch));
        grads.square_();
        const at::Tensor x = batch.x[0].detach().to(at::kDouble).square();
        sum.narrow(0, 0, weights).add_(grads.t().mm(x).view({-1}));
        if (model_->has_intercept()) {
          sum.narrow(0, weights, model_->num_outputs()).add_(grads.sum(0));
        }
        num_samples += batch.size();
      }
      return sum.div_(static_cast<double>(num_samples));
    });
  }

  absl::StatusOr<std::shared_ptr<const Operator>> InverseHarmonicMean(
      std::shared_ptr<const BatchSequence> data,
      double regularization) const override {
    INFLUENCE_RETURN_IF_ERROR(
        ValidatePositive("regularization", regularization));
    return std::make_shared<const ClosedFormInverseHarmonicMean>(
        model_, std::move(data), regularization);
  }

 private:
  std::shared_ptr<const GeneralizedLinearModel> model_;
};

}  // namespace

double CurvatureSource::relative_accuracy() const {
  return RoundingUnit(dtype());
}

std::unique_ptr<const CurvatureSource> CreateCurvatureSource(
    std::shared_ptr<const GradientProvider> provider) {
  INFLUENCE_CHECK(provider != nullptr);
  return std::make_unique<const ProviderSource>(std::move(provider));
}

std::unique_ptr<const CurvatureSource> CreateCurvatureSource(
    std::shared_ptr<const GeneralizedLinearModel> model) {
  INFLUENCE_CHECK(model != nullptr);
  return std::make_unique<const ClosedFormSource>(std::move(model));
}

absl::StatusOr<std::vector<SingleBatch>> SingleBatches(
    const std::shared_ptr<const BatchSequence>& data) {
  std::vector<SingleBatch> batches;
  for (int64_t i = 0; i < data->num_batches(); ++i) {
    INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, data->Get(i));
    batches.push_back(
        {std::make_shared<const OneBatchSequence>(data, i, batch.size()),
         batch.size()});
  }
  return batches;
}

}  // namespace influence
