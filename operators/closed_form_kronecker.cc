// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/closed_form_kronecker.h"

#include <cstdint>
#include <limits>
#include <utility>

#include "ATen/ops/cat.h"
#include "ATen/ops/linalg_eigh.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/outer.h"
#include "ATen/ops/sigmoid.h"
#include "ATen/ops/softmax.h"
#include "ATen/ops/zeros.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "gradients/batch.h"

namespace influence {
namespace {

// x~ [N, I].
at::Tensor Inputs(const GeneralizedLinearModel& model, const Batch& batch) {
  at::Tensor x = batch.x[0].detach().to(at::kDouble);
  if (!model.has_intercept()) return x;
  return at::cat({x, at::ones({x.size(0), 1}, at::kDouble)}, 1);
}

// p [N, K].
absl::StatusOr<at::Tensor> Probabilities(const GeneralizedLinearModel& model,
                                         const Batch& batch) {
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor outputs, model.Outputs(batch));
  return model.loss() == GeneralizedLinearLoss::kCrossEntropy
             ? at::softmax(outputs, 1)
             : at::sigmoid(outputs);
}

// p (1 - p) / K^2, the variances of independent labels.
at::Tensor BernoulliVariances(const at::Tensor& p) {
  const auto k = static_cast<double>(p.size(1));
  return p.mul(p.neg().add(1)).div(k * k);
}

// sum_n r r^T, [K, K].
absl::StatusOr<at::Tensor> GradientCovariance(
    const GeneralizedLinearModel& model, const Batch& batch, Fisher fisher) {
  if (fisher == Fisher::kEmpirical) {
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor r, model.OutputGrads(batch));
    return r.t().mm(r);
  }
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor p, Probabilities(model, batch));
  return model.loss() == GeneralizedLinearLoss::kCrossEntropy
             ? p.sum(0).diag().sub(p.t().mm(p))
             : BernoulliVariances(p).sum(0).diag();
}

// (U_G^T r)^2 by sample, [N, K].
absl::StatusOr<at::Tensor> SquaredCoordinates(
    const GeneralizedLinearModel& model, const Batch& batch, Fisher fisher,
    const at::Tensor& u) {
  if (fisher == Fisher::kEmpirical) {
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor r, model.OutputGrads(batch));
    return r.mm(u).square();
  }
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor p, Probabilities(model, batch));
  return model.loss() == GeneralizedLinearLoss::kCrossEntropy
             ? p.mm(u.square()).sub(p.mm(u).square())
             : BernoulliVariances(p).mm(u.square());
}

absl::Status ForEachBatch(const GeneralizedLinearModel& model,
                          const BatchSequence& data,
                          absl::FunctionRef<absl::Status(const Batch&)> body) {
  for (int64_t i = 0; i < data.num_batches(); ++i) {
    INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, data.Get(i));
    INFLUENCE_RETURN_IF_ERROR(model.Validate(batch));
    INFLUENCE_RETURN_IF_ERROR(body(batch));
  }
  return absl::OkStatus();
}

absl::Status ValidateFisher(const GeneralizedLinearModel& model,
                            Fisher fisher) {
  if (fisher == Fisher::kSampled) {
    return absl::InvalidArgumentError(
        "fisher: found sampled, expected empirical or exact for a generalized "
        "linear model");
  }
  if (fisher == Fisher::kExact &&
      model.loss() == GeneralizedLinearLoss::kMeanSquaredError) {
    return absl::InvalidArgumentError(
        "fisher: found exact with loss mse, expected empirical");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ClosedFormKronecker> FitClosedFormKronecker(
    const GeneralizedLinearModel& model, const BatchSequence& data,
    KroneckerMethod method, Fisher fisher) {
  INFLUENCE_RETURN_IF_ERROR(ValidateFisher(model, fisher));
  const auto num_samples = static_cast<double>(data.num_samples());
  if (num_samples < 1) {
    return absl::InvalidArgumentError(
        "data: found no samples, expected at least one");
  }
  return CatchTorch("kfac", [&]() -> absl::StatusOr<ClosedFormKronecker> {
    const int64_t k = model.num_outputs();
    const int64_t i = model.num_parameters() / k;
    const at::Tensor s_a = at::zeros({i, i}, at::kDouble);
    const at::Tensor s_g = at::zeros({k, k}, at::kDouble);
    INFLUENCE_RETURN_IF_ERROR(
        ForEachBatch(model, data, [&](const Batch& batch) -> absl::Status {
          const at::Tensor x = Inputs(model, batch);
          s_a.add_(x.t().mm(x));
          INFLUENCE_ASSIGN_OR_RETURN(at::Tensor covariance,
                                     GradientCovariance(model, batch, fisher));
          s_g.add_(covariance);
          return absl::OkStatus();
        }));
    const auto [a_values, a_vectors] = at::linalg_eigh(s_a.div_(num_samples));
    const auto [g_values, g_vectors] = at::linalg_eigh(s_g.div_(num_samples));
    ClosedFormKronecker curvature;
    curvature.input_eigenvectors = a_vectors;
    curvature.gradient_eigenvectors = g_vectors;
    if (method == KroneckerMethod::kKfac) {
      curvature.eigenvalues =
          at::outer(g_values.clamp_min(0), a_values.clamp_min(0));
      return curvature;
    }
    curvature.eigenvalues = at::zeros({k, i}, at::kDouble);
    INFLUENCE_RETURN_IF_ERROR(
        ForEachBatch(model, data, [&](const Batch& batch) -> absl::Status {
          INFLUENCE_ASSIGN_OR_RETURN(
              at::Tensor g,
              SquaredCoordinates(model, batch, fisher,
                                 curvature.gradient_eigenvectors));
          const at::Tensor a =
              Inputs(model, batch).mm(curvature.input_eigenvectors).square();
          curvature.eigenvalues.add_(g.t().mm(a));
          return absl::OkStatus();
        }));
    curvature.eigenvalues.div_(num_samples).clamp_min_(0);
    return curvature;
  });
}

absl::StatusOr<at::Tensor> SolveClosedFormKronecker(
    const GeneralizedLinearModel& model, const ClosedFormKronecker& curvature,
    double regularization, const at::Tensor& b) {
  return CatchTorch("kfac", [&]() -> absl::StatusOr<at::Tensor> {
    const at::Tensor damped = curvature.eigenvalues.add(regularization);
    const double largest = damped.max().item<double>();
    const double least = damped.min().item<double>();
    if (least <= static_cast<double>(damped.numel()) *
                     std::numeric_limits<double>::epsilon() * largest) {
      return absl::InvalidArgumentError(absl::StrCat(
          "regularization: found ", regularization,
          ", with which the curvature is singular (eigenvalues of ", least,
          " to ", largest, "), expected a larger value (--regularization)"));
    }
    const int64_t k = model.num_outputs();
    const int64_t weights = model.weight().numel();
    // [Q, K, I]: the bias is the last input.
    at::Tensor v = b.narrow(1, 0, weights).reshape({b.size(0), k, -1});
    if (model.has_intercept()) {
      v = at::cat({v, b.narrow(1, weights, k).unsqueeze(2)}, 2);
    }
    const at::Tensor& u_a = curvature.input_eigenvectors;
    const at::Tensor& u_g = curvature.gradient_eigenvectors;
    v = u_g.t().matmul(v).matmul(u_a).div(damped);
    v = u_g.matmul(v).matmul(u_a.t());
    if (!model.has_intercept()) return v.reshape({b.size(0), -1});
    const int64_t d = model.num_features();
    return at::cat({v.narrow(2, 0, d).reshape({b.size(0), -1}), v.select(2, d)},
                   1);
  });
}

}  // namespace influence
