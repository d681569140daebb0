// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/generalized_linear_influence.h"

#include <algorithm>
#include <utility>

#include "ATen/ops/empty.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "gradients/tensor_map.h"

namespace influence {
namespace {

// Scalars of gradients written out at a time.
constexpr int64_t kTileScalars = int64_t{1} << 22;

absl::StatusOr<at::Tensor> Scores(const GeneralizedLinearModel& model,
                                  const at::Tensor& factors, const Batch& train,
                                  InfluenceMode mode) {
  INFLUENCE_RETURN_IF_ERROR(
      ValidateVectorOrMatrix("factors", factors, model.num_parameters()));
  return CatchTorch("influences", [&]() -> absl::StatusOr<at::Tensor> {
    const at::Tensor rows = factors.dim() == 1 ? factors.unsqueeze(0) : factors;
    if (mode == InfluenceMode::kPerturbation) {
      return model.MixedProd(train, rows);
    }
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor scores,
                               model.JacobianProd(train, rows));
    return scores.t().contiguous();
  });
}

class GeneralizedLinearQueries : public PreparedQueries {
 public:
  GeneralizedLinearQueries(std::shared_ptr<const GeneralizedLinearModel> model,
                           at::Tensor factors)
      : model_(std::move(model)), factors_(std::move(factors)) {}

  int64_t num_queries() const override { return factors_.size(0); }

  absl::StatusOr<at::Tensor> Influences(const Batch& train, InfluenceMode mode,
                                        int64_t input) const override {
    INFLUENCE_RETURN_IF_ERROR(CheckFirstInput(mode, input));
    return Scores(*model_, factors_, train, mode);
  }

  absl::StatusOr<TensorMap> InfluencesByBlock(const Batch&, InfluenceMode,
                                              int64_t) const override {
    return absl::UnimplementedError(
        "influences by block: a generalized linear model has no blocks");
  }

 private:
  static absl::Status CheckFirstInput(InfluenceMode mode, int64_t input) {
    if (mode == InfluenceMode::kUp || input == 0) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("input: found ", input, ", expected a number below 1"));
  }

  std::shared_ptr<const GeneralizedLinearModel> model_;
  at::Tensor factors_;  // [M, P]
};

// 0.1 * mean_n |g_n|^2 / P, from the Gauss-Newton matrix where that is at hand.
absl::StatusOr<double> AutoRegularization(const GeneralizedLinearModel& model,
                                          Curvature curvature,
                                          const at::Tensor& matrix,
                                          const BatchSequence& data) {
  double mean = 0;
  if (curvature == Curvature::kGaussNewton) {
    mean = matrix.diagonal().sum().item<double>();
  } else {
    for (int64_t i = 0; i < data.num_batches(); ++i) {
      INFLUENCE_ASSIGN_OR_RETURN(Batch batch, data.Get(i));
      INFLUENCE_ASSIGN_OR_RETURN(at::Tensor norms,
                                 model.SquaredGradNorms(batch));
      mean +=
          norms.sum().item<double>() / static_cast<double>(data.num_samples());
    }
  }
  const double value = 0.1 * mean / static_cast<double>(model.num_parameters());
  if (value > 0) return value;
  return absl::InvalidArgumentError(
      "regularization: found auto, but all gradients are zero, expected a "
      "value (--regularization)");
}

}  // namespace

absl::StatusOr<std::unique_ptr<GeneralizedLinearInfluence>>
GeneralizedLinearInfluence::Create(
    std::shared_ptr<const GeneralizedLinearModel> model,
    const GeneralizedLinearInfluenceOptions& options) {
  if (model == nullptr) return absl::InvalidArgumentError("model: is null");
  if (options.regularization.has_value()) {
    INFLUENCE_RETURN_IF_ERROR(
        ValidateNonNegative("regularization", *options.regularization));
  }
  return std::unique_ptr<GeneralizedLinearInfluence>(
      new GeneralizedLinearInfluence(std::move(model), options));
}

GeneralizedLinearInfluence::GeneralizedLinearInfluence(
    std::shared_ptr<const GeneralizedLinearModel> model,
    const GeneralizedLinearInfluenceOptions& options)
    : model_(std::move(model)), options_(options) {}

absl::Status GeneralizedLinearInfluence::DoFit(
    std::shared_ptr<const BatchSequence> data, ProgressReporter* progress) {
  return CatchTorch("fit", [&]() -> absl::Status {
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor curvature,
                               options_.curvature == Curvature::kGaussNewton
                                   ? model_->DenseGaussNewton(*data, progress)
                                   : model_->DenseHessian(*data, progress));
    DirectInverseOptions inverse_options;
    if (options_.regularization.has_value()) {
      inverse_options.regularization = *options_.regularization;
    } else {
      INFLUENCE_ASSIGN_OR_RETURN(
          inverse_options.regularization,
          AutoRegularization(*model_, options_.curvature, curvature, *data));
    }
    INFLUENCE_ASSIGN_OR_RETURN(
        inverse_, DirectInverse::Create(std::move(curvature), inverse_options));
    num_fitted_samples_ = data->num_samples();
    return absl::OkStatus();
  });
}

absl::StatusOr<at::Tensor> GeneralizedLinearInfluence::DoInfluenceFactors(
    const Batch& test) const {
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor grads, model_->FlatGrads(test));
  return inverse_->Apply(grads);
}

absl::StatusOr<at::Tensor> GeneralizedLinearInfluence::DoInfluences(
    const Batch& test, const std::optional<Batch>& train, InfluenceMode mode,
    int64_t /*input*/) const {
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor factors, DoInfluenceFactors(test));
  return Scores(*model_, factors, train.has_value() ? *train : test, mode);
}

absl::StatusOr<std::unique_ptr<const PreparedQueries>>
GeneralizedLinearInfluence::DoPrepareQueries(const Batch& test) const {
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor factors, DoInfluenceFactors(test));
  return std::make_unique<const GeneralizedLinearQueries>(model_,
                                                          std::move(factors));
}

absl::StatusOr<at::Tensor> GeneralizedLinearInfluence::DoInfluencesFromFactors(
    const at::Tensor& factors, const Batch& train, InfluenceMode mode,
    int64_t /*input*/) const {
  return Scores(*model_, factors, train, mode);
}

absl::StatusOr<at::Tensor> GeneralizedLinearInfluence::SelfInfluences(
    const Batch& train) const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  INFLUENCE_RETURN_IF_ERROR(model_->Validate(train));
  return CatchTorch("self-influences", [&]() -> absl::StatusOr<at::Tensor> {
    at::Tensor scores = at::empty({train.size()}, at::kDouble);
    const int64_t rows =
        std::max<int64_t>(1, kTileScalars / model_->num_parameters());
    for (int64_t begin = 0; begin < train.size(); begin += rows) {
      const int64_t end = std::min(begin + rows, train.size());
      INFLUENCE_ASSIGN_OR_RETURN(Batch part, SliceBatch(train, begin, end));
      INFLUENCE_ASSIGN_OR_RETURN(at::Tensor grads, model_->FlatGrads(part));
      INFLUENCE_ASSIGN_OR_RETURN(at::Tensor factors, inverse_->Apply(grads));
      scores.narrow(0, begin, end - begin).copy_(factors.mul_(grads).sum(1));
    }
    return scores;
  });
}

absl::StatusOr<std::unique_ptr<GeneralizedLinearInfluence>>
GeneralizedLinearInfluence::WithRegularization(double regularization) const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  std::unique_ptr<GeneralizedLinearInfluence> other(
      new GeneralizedLinearInfluence(*this));
  other->options_.regularization = regularization;
  INFLUENCE_ASSIGN_OR_RETURN(other->inverse_,
                             inverse_->WithRegularization(regularization));
  return other;
}

}  // namespace influence
