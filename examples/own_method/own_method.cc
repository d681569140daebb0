// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A way of one's own to invert curvatures, and a kind of model of one's own:
// both are called by name, as what the library brings.
#include <cstdint>
#include <cstdio>
#include <memory>
#include <utility>

#include "ATen/core/Tensor.h"
#include "ATen/ops/exp.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "ATen/ops/zeros_like.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/module_model.h"
#include "gradients/per_sample_function.h"
#include "operators/batch_averaging_operator.h"
#include "operators/curvature.h"
#include "operators/direct_inverse.h"
#include "operators/inversion_options.h"
#include "operators/inversion_registry.h"
#include "operators/operator.h"
#include "operators/solve_hvp.h"
#include "operators/twice_differentiable.h"
#include "torch/nn/modules/linear.h"

namespace {

using influence::Batch;
using influence::BatchSequence;
using influence::InverseHvpResult;
using influence::InversionOptionReader;
using influence::InversionProblem;

// A method: Richardson's iteration x <- x + step * (b - A x), for models whose
// gradients are captured. What the method can be told, it reads by name.
absl::StatusOr<InverseHvpResult> Richardson(
    const influence::CapturingModel& model, const InversionProblem& problem,
    InversionOptionReader& options) {
  double step = 0.1;
  int64_t iterations = 100;
  options.Read("step", &step);
  options.Read("iterations", &iterations);
  INFLUENCE_RETURN_IF_ERROR(options.Finish());  // Refuses all others.

  influence::BatchAveragingOptions a_options;
  a_options.regularization = problem.hessian_perturbation;
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const influence::Operator> a,
      influence::BatchAveragingOperator::Create(
          influence::CreateCurvatureOperation(
              influence::Curvature::kGeneralizedGaussNewton, model.provider()),
          problem.data, a_options));
  InverseHvpResult result;
  result.x = at::zeros_like(problem.b);
  for (int64_t i = 0; i < iterations; ++i) {
    INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor product, a->Apply(result.x));
    result.x.add_(problem.b.sub(product), step);
  }
  return result;
}

// A kind of model: Poisson regression, l = exp(w^T x) - y w^T x.
class PoissonRegression : public influence::TwiceDifferentiable {
 public:
  static constexpr char kKind[] = "poisson_regression";

  explicit PoissonRegression(at::Tensor weight) : weight_(std::move(weight)) {}

  absl::string_view kind() const override { return kKind; }
  int64_t num_parameters() const override { return weight_.size(0); }
  at::ScalarType dtype() const override { return at::kDouble; }

  // mean_n exp(w^T x_n) x_n x_n^T.
  absl::StatusOr<at::Tensor> Hessian(const BatchSequence& data) const {
    at::Tensor sum =
        at::zeros({num_parameters(), num_parameters()}, at::kDouble);
    for (int64_t i = 0; i < data.num_batches(); ++i) {
      INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, data.Get(i));
      const at::Tensor& x = batch.x[0];
      const at::Tensor rate = at::exp(x.mv(weight_));
      sum.add_(x.t().mm(x.mul(rate.unsqueeze(1))));
    }
    return sum.div_(static_cast<double>(data.num_samples()));
  }

 private:
  at::Tensor weight_;  // float64 [P]
};

absl::StatusOr<InverseHvpResult> SolvePoisson(const PoissonRegression& model,
                                              const InversionProblem& problem,
                                              InversionOptionReader& options) {
  INFLUENCE_RETURN_IF_ERROR(options.Finish());
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor hessian, model.Hessian(*problem.data));
  influence::DirectInverseOptions inverse_options;
  inverse_options.regularization = problem.hessian_perturbation;
  INFLUENCE_ASSIGN_OR_RETURN(
      const auto inverse,
      influence::DirectInverse::Create(std::move(hessian), inverse_options));
  InverseHvpResult result;
  INFLUENCE_ASSIGN_OR_RETURN(result.x, inverse->Apply(problem.b));
  return result;
}

absl::Status RegisterOwn() {
  influence::InversionRegistry& registry =
      influence::DefaultInversionRegistry();
  INFLUENCE_RETURN_IF_ERROR(registry.RegisterFor<influence::CapturingModel>(
      "richardson", Richardson));
  return registry.RegisterFor<PoissonRegression>("direct", SolvePoisson);
}

absl::Status ExpectEqual(const char* what, const at::Tensor& found,
                         const at::Tensor& expected) {
  const double difference = found.sub(expected).abs().max().item<double>();
  std::printf("%s: largest difference %.1e\n", what, difference);
  return difference < 1e-6 ? absl::OkStatus() : absl::InternalError(what);
}

absl::Status Run() {
  INFLUENCE_RETURN_IF_ERROR(RegisterOwn());
  constexpr double kLambda = 0.1;
  const at::Tensor x =
      at::tensor({0.0, 0.1, 1.0, 0.9, 0.2, 0.0, 0.8, 1.0}, at::kDouble)
          .view({4, 2});

  // The method, on a module of LibTorch.
  torch::nn::Linear linear(2, 2);
  linear->to(at::kDouble);
  const Batch labelled{{x}, at::tensor({0, 1, 0, 0}, at::kLong)};
  INFLUENCE_ASSIGN_OR_RETURN(
      auto batches, influence::TensorBatchSequence::Create(labelled, 2));
  const auto data = std::make_shared<const influence::TensorBatchSequence>(
      std::move(batches));
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const influence::Model> module,
      influence::CreateModuleModel(linear.ptr()));
  INFLUENCE_ASSIGN_OR_RETURN(
      const auto provider,
      influence::CapturingGradientProvider::Create(
          module, influence::CrossEntropyLoss(), labelled));
  INFLUENCE_ASSIGN_OR_RETURN(const auto model,
                             influence::CapturingModel::Create(provider));
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor grads,
                             provider->FlatGrads(labelled));
  INFLUENCE_ASSIGN_OR_RETURN(
      const InverseHvpResult exact,
      influence::SolveHvp("direct", *model, data, grads, kLambda));
  INFLUENCE_ASSIGN_OR_RETURN(
      const InverseHvpResult own,
      influence::SolveHvp("richardson", *model, data, grads, kLambda,
                          {{"step", 1.0}, {"iterations", 300}}));
  INFLUENCE_RETURN_IF_ERROR(
      ExpectEqual("richardson and direct", own.x, exact.x));

  // The kind of model.
  const Batch counted{{x}, at::tensor({1.0, 3.0, 0.0, 2.0}, at::kDouble)};
  INFLUENCE_ASSIGN_OR_RETURN(
      auto counts, influence::TensorBatchSequence::Create(counted, 2));
  const auto count_data =
      std::make_shared<const influence::TensorBatchSequence>(std::move(counts));
  const PoissonRegression poisson(at::tensor({0.3, 0.7}, at::kDouble));
  const at::Tensor b = at::tensor({1.0, -1.0}, at::kDouble);
  INFLUENCE_ASSIGN_OR_RETURN(
      const InverseHvpResult solution,
      influence::SolveHvp("direct", poisson, count_data, b, kLambda));
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor hessian,
                             poisson.Hessian(*count_data));
  return ExpectEqual("A x and b",
                     hessian.mv(solution.x).add(solution.x, kLambda), b);
}

}  // namespace

int main() {
  const absl::Status status = Run();
  if (status.ok()) return 0;
  std::printf("%s\n", status.ToString().c_str());
  return 1;
}
