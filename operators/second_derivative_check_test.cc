// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/second_derivative_check.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/_weight_norm.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/embedding_bag.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/norm_except_dim.h"
#include "ATen/ops/relu.h"
#include "ATen/ops/tanh.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/curvature.h"
#include "operators/dense_curvature.h"
#include "operators/hessian_batch_operation.h"
#include "operators/kept_curvature_operator.h"
#include "operators/problem_testing.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"
#include "torch/csrc/autograd/custom_function.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

using Parameters = std::vector<at::Tensor>;
using Network =
    std::function<at::Tensor(const Parameters& p, const at::Tensor& x)>;

// A model that can be copied, of parameters "0", "1", ...
class CopyableModel : public FunctionModel {
 public:
  static std::shared_ptr<const Model> Make(const Parameters& values,
                                           const Network& forward) {
    Parameters parameters;
    std::vector<NamedParameter> named;
    for (const at::Tensor& value : values) {
      parameters.push_back(ParameterLike(value));
      named.push_back({std::to_string(named.size()), parameters.back()});
    }
    return std::shared_ptr<const Model>(
        new CopyableModel(named, parameters, forward));
  }

  absl::StatusOr<std::shared_ptr<const Model>> CopyAs(
      at::ScalarType dtype) const override {
    Parameters values;
    for (const at::Tensor& parameter : tensors_) {
      values.push_back(parameter.detach().to(dtype));
    }
    return Make(values, forward_);
  }

 private:
  CopyableModel(const std::vector<NamedParameter>& named,
                const Parameters& tensors, const Network& forward)
      : FunctionModel(named,
                      [tensors, forward](const std::vector<at::Tensor>& x) {
                        return forward(tensors, x[0]);
                      }),
        tensors_(tensors),
        forward_(forward) {}

  Parameters tensors_;
  Network forward_;
};

std::shared_ptr<const Model> NotCopyable(const Parameters& values,
                                         const Network& forward) {
  Parameters parameters;
  std::vector<NamedParameter> named;
  for (const at::Tensor& value : values) {
    parameters.push_back(ParameterLike(value));
    named.push_back({std::to_string(named.size()), parameters.back()});
  }
  return std::make_shared<const FunctionModel>(
      named, [parameters, forward](const std::vector<at::Tensor>& x) {
        return forward(parameters, x[0]);
      });
}

std::shared_ptr<const GradientProvider> Provider(
    std::shared_ptr<const Model> model) {
  return *AutogradGradientProvider::Create(std::move(model),
                                           CrossEntropyLoss());
}

std::vector<int64_t> All(const GradientProvider& provider) {
  return provider.selection();
}

Parameters Mlp(at::ScalarType dtype) {
  return {SeededNormal({4, 3}, dtype, 1), SeededNormal({4}, dtype, 2),
          SeededNormal({3, 4}, dtype, 3)};
}

// The weight |g| v / |v|, of which LibTorch's second derivative is wrong.
at::Tensor WeightNormMlp(const Parameters& p, const at::Tensor& x) {
  const at::Tensor weight =
      at::_weight_norm(p[0], p[1].abs().unsqueeze(1), /*dim=*/0);
  return at::linear(at::tanh(at::linear(x, weight)), p[2]);
}

// The same, written out.
at::Tensor WrittenOutMlp(const Parameters& p, const at::Tensor& x) {
  const at::Tensor norm = at::norm_except_dim(p[0], 2, 0);
  const at::Tensor weight = p[0].mul(p[1].abs().unsqueeze(1)).div(norm);
  return at::linear(at::tanh(at::linear(x, weight)), p[2]);
}

at::Tensor BagMlp(const Parameters& p, const at::Tensor& x) {
  const at::Tensor offsets =
      at::arange(0, x.numel(), x.size(1), at::TensorOptions(at::kLong));
  return at::linear(
      at::tanh(std::get<0>(at::embedding_bag(p[0], x.reshape({-1}), offsets))),
      p[2]);
}

Batch Features(at::ScalarType dtype) {
  return SeededClassification(5, 3, 3, dtype, 4);
}

Batch Tokens() {
  return {{SeededLabels(20, 4, 5).view({5, 4})}, SeededLabels(5, 3, 6)};
}

// tanh with a second derivative that is symmetric and wrong: half of it.
struct HalfCurvedTanh : public torch::autograd::Function<HalfCurvedTanh> {
  static at::Tensor forward(torch::autograd::AutogradContext* context,
                            const at::Tensor& x) {
    context->save_for_backward({x});
    return at::tanh(x);
  }
  static torch::autograd::variable_list backward(
      torch::autograd::AutogradContext* context,
      const torch::autograd::variable_list& gradients) {
    const at::Tensor x = context->get_saved_variables()[0];
    const at::Tensor y = at::tanh(x);
    const at::Tensor slope = y.mul(y).neg().add(1);
    return {gradients[0].mul(slope.add(slope.detach()).div(2))};
  }
};

TEST(SecondDerivativeCheckTest, RightModelsPass) {
  const auto relu = [](const Parameters& p, const at::Tensor& x) {
    return at::linear(at::relu(at::linear(x, p[0], p[1])), p[2]);
  };
  const auto rounds_inside = [](const Parameters& p, const at::Tensor& x) {
    // As models that normalise in float32 whatever they are in.
    const at::Tensor hidden =
        at::tanh(at::linear(x, p[0], p[1]).to(at::kFloat));
    return at::linear(hidden.to(p[2].scalar_type()), p[2]);
  };
  const auto saturated = [](const Parameters& p, const at::Tensor& x) {
    return at::linear(at::tanh(at::linear(x, p[0], p[1])), p[2]).mul(1000);
  };
  const auto linear = [](const Parameters& p, const at::Tensor& x) {
    return at::linear(x, p[0]);
  };
  for (const Network& forward :
       {Network(relu), Network(WrittenOutMlp), Network(rounds_inside),
        Network(saturated), Network(linear)}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      for (const auto& model : {CopyableModel::Make(Mlp(dtype), forward),
                                NotCopyable(Mlp(dtype), forward)}) {
        const auto provider = Provider(model);
        const Batch batch = Features(dtype);
        INFLUENCE_EXPECT_OK(CheckHessian(*provider, All(*provider), batch));
        INFLUENCE_EXPECT_OK(
            CheckGeneralizedGaussNewton(*provider, All(*provider), batch));
      }
    }
  }
}

TEST(SecondDerivativeCheckTest, AnAsymmetricHessianIsRefused) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    for (const auto& model : {CopyableModel::Make(Mlp(dtype), WeightNormMlp),
                              NotCopyable(Mlp(dtype), WeightNormMlp)}) {
      const auto provider = Provider(model);
      EXPECT_THAT(
          CheckHessian(*provider, All(*provider), Features(dtype)),
          StatusIs(absl::StatusCode::kInvalidArgument,
                   AllOf(StartsWith("curvature: found a wrong second "
                                    "derivative of the model in LibTorch"),
                         HasSubstr("WeightNorm"),
                         HasSubstr("for hessian, expected "
                                   "generalized_gauss_newton"))));
      // Which is right.
      INFLUENCE_EXPECT_OK(CheckGeneralizedGaussNewton(*provider, All(*provider),
                                                      Features(dtype)));
    }
  }
}

TEST(SecondDerivativeCheckTest, ASymmetricHessianThatIsWrongIsRefused) {
  const auto half = [](const Parameters& p, const at::Tensor& x) {
    return at::linear(HalfCurvedTanh::apply(at::linear(x, p[0], p[1])), p[2]);
  };
  const auto provider = Provider(CopyableModel::Make(Mlp(at::kDouble), half));
  EXPECT_THAT(CheckHessian(*provider, All(*provider), Features(at::kDouble)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("from central differences"),
                             HasSubstr("expected generalized_gauss_newton"))));
}

// The gradient that such a model has is not that of a function: a Hessian with
// constants in place of what is detached is what it asks for.
TEST(SecondDerivativeCheckTest, StoppedGradientsAreNoFault) {
  const auto detached = [](const Parameters& p, const at::Tensor& x) {
    const at::Tensor weight = p[0].add(p[0].detach().mul(0.5));
    return at::linear(at::tanh(at::linear(x, weight, p[1])), p[2]);
  };
  const auto provider =
      Provider(CopyableModel::Make(Mlp(at::kDouble), detached));
  INFLUENCE_EXPECT_OK(
      CheckHessian(*provider, All(*provider), Features(at::kDouble)));
}

TEST(SecondDerivativeCheckTest, NobodySeesTheParametersMove) {
  const auto provider =
      Provider(CopyableModel::Make(Mlp(at::kDouble), WrittenOutMlp));
  std::vector<at::Tensor> before;
  std::vector<int64_t> versions;
  for (const NamedParameter& parameter : provider->model().parameters()) {
    before.push_back(parameter.tensor.detach().clone());
    versions.push_back(parameter.tensor._version());
  }
  INFLUENCE_EXPECT_OK(
      CheckHessian(*provider, All(*provider), Features(at::kDouble)));
  for (size_t p = 0; p < before.size(); ++p) {
    const at::Tensor& tensor = provider->model().parameters()[p].tensor;
    EXPECT_TRUE(tensor.detach().equal(before[p]));
    EXPECT_EQ(tensor._version(), versions[p]);
    EXPECT_FALSE(tensor.grad().defined());
  }
}

TEST(SecondDerivativeCheckTest, AMissingSecondDerivativeIsNamed) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    Parameters values = Mlp(dtype);
    values[2] = SeededNormal({3, 3}, dtype, 3);
    for (const auto& model :
         {CopyableModel::Make(values, BagMlp), NotCopyable(values, BagMlp)}) {
      const auto provider = Provider(model);
      for (const auto check : {CheckHessian, CheckGeneralizedGaussNewton}) {
        EXPECT_THAT(
            check(*provider, All(*provider), Tokens()),
            StatusIs(absl::StatusCode::kInvalidArgument,
                     AllOf(StartsWith("curvature: found no second derivative "
                                      "of embedding_bag (used by parameter 0) "
                                      "in LibTorch"),
                           HasSubstr("expected gauss_newton, or the method "
                                     "ekfac"))));
      }
    }
  }
}

// Wherever curvature products come from.
TEST(SecondDerivativeCheckTest, NoProductIsTakenOfAWrongHessian) {
  const auto provider =
      Provider(CopyableModel::Make(Mlp(at::kDouble), WeightNormMlp));
  const Batch batch = Features(at::kDouble);
  const auto data = std::make_shared<const TensorBatchSequence>(
      *TensorBatchSequence::Create(batch, 2));
  const ParameterBlocks blocks =
      ParameterBlocks::Create(provider->model(), BlockStructure::kFull);
  const auto refused =
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("curvature: found a wrong second derivative"));
  EXPECT_THAT(FormDenseCurvature(Curvature::kHessian, *provider, blocks, *data),
              refused);
  EXPECT_THAT(
      KeptCurvatureOperator::Create(Curvature::kHessian, provider, data),
      refused);
  const at::Tensor v =
      SeededNormal({provider->num_parameters()}, at::kDouble, 7);
  EXPECT_THAT(HessianBatchOperation(provider).Apply(batch, v), refused);
  // Not so the others.
  for (const Curvature curvature :
       {Curvature::kGaussNewton, Curvature::kGeneralizedGaussNewton}) {
    EXPECT_THAT(FormDenseCurvature(curvature, *provider, blocks, *data),
                IsOk());
    EXPECT_THAT(KeptCurvatureOperator::Create(curvature, provider, data),
                IsOk());
  }
}

}  // namespace
}  // namespace influence
