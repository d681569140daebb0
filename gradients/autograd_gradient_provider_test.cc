// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/autograd_gradient_provider.h"

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/sin.h"
#include "ATen/ops/tanh.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/batch.h"
#include "gradients/factored_gradients.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

// Entries in [-1, 1], all different, the same in every run.
template <typename T>
at::Tensor Numbers(at::IntArrayRef shape, double step) {
  int64_t size = 1;
  for (const int64_t length : shape) size *= length;
  return at::sin(at::arange(1, size + 1, at::kDouble).mul(step))
      .reshape(shape)
      .to(c10::CppTypeToScalarType<T>::value);
}

// x [N, 3] -> tanh(x w + b) [N, 2], with a parameter that is never used.
std::shared_ptr<const FunctionModel> SmallModel(const at::Tensor& w,
                                                const at::Tensor& b) {
  return std::make_shared<FunctionModel>(
      std::vector<NamedParameter>{
          {"w", w}, {"unused", ParameterLike(b)}, {"b", b}},
      [w, b](const std::vector<at::Tensor>& x) {
        return at::tanh(x[0].mm(w).add(b));
      });
}

template <typename T>
class AutogradGradientProviderTest : public testing::Test {
 protected:
  at::Tensor w_ = ParameterLike(Numbers<T>({3, 2}, 1.1));
  at::Tensor b_ = ParameterLike(Numbers<T>({2}, 2.3));
  Batch batch_ = {{Numbers<T>({4, 3}, 0.7)}, Numbers<T>({4, 2}, 0.9)};
};

using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(AutogradGradientProviderTest, Scalars);

// d/dw_{ij} of mean_j (tanh(o_j) - y_j)^2 is x_i (t_j - y_j) (1 - t_j^2), the
// mean being over two outputs. c = 16 epsilon for the handful of roundings.
TYPED_TEST(AutogradGradientProviderTest, EqualsTheFormula) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto provider,
      AutogradGradientProvider::Create(SmallModel(this->w_, this->b_),
                                       MeanSquaredErrorLoss()));
  EXPECT_EQ(provider->num_parameters(), 10);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found,
                                 provider->FlatGrads(this->batch_));
  const at::Tensor x = this->batch_.x[0];
  const at::Tensor t = at::tanh(x.mm(this->w_).add(this->b_)).detach();
  const at::Tensor delta =
      t.sub(this->batch_.y).mul(t.mul(t).neg().add(1));  // [N, 2]
  at::Tensor expected = at::zeros({4, 10}, x.options());
  expected.narrow(1, 0, 6).copy_(
      x.unsqueeze(2).mul(delta.unsqueeze(1)).reshape({4, 6}));
  expected.narrow(1, 8, 2).copy_(delta);
  EXPECT_THAT(
      found,
      TensorNear(expected, 16 * std::numeric_limits<TypeParam>::epsilon()));
}

TYPED_TEST(AutogradGradientProviderTest, AParameterThatIsNotUsedHasNoTerm) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto provider,
      AutogradGradientProvider::Create(SmallModel(this->w_, this->b_),
                                       MeanSquaredErrorLoss()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients factored,
                                 provider->FactoredGrads(this->batch_));
  ASSERT_EQ(factored.parameters().size(), 3u);
  EXPECT_EQ(factored.parameters()[0].terms.size(), 1u);
  EXPECT_EQ(factored.parameters()[1].name, "unused");
  EXPECT_EQ(factored.parameters()[1].size, 2);
  EXPECT_TRUE(factored.parameters()[1].terms.empty());
}

TYPED_TEST(AutogradGradientProviderTest, TheCallersGradModeDoesNotMatter) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto provider,
      AutogradGradientProvider::Create(SmallModel(this->w_, this->b_),
                                       MeanSquaredErrorLoss()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                                 provider->FlatGrads(this->batch_));
  const at::NoGradGuard no_grad;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found,
                                 provider->FlatGrads(this->batch_));
  EXPECT_THAT(found, TensorNear(expected, 0));
  EXPECT_FALSE(found.requires_grad());
  EXPECT_FALSE(at::GradMode::is_enabled());
}

TYPED_TEST(AutogradGradientProviderTest, NeverWritesToTheModelsGrad) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto provider,
      AutogradGradientProvider::Create(SmallModel(this->w_, this->b_),
                                       MeanSquaredErrorLoss()));
  INFLUENCE_ASSERT_OK(provider->FlatGrads(this->batch_));
  EXPECT_FALSE(this->w_.grad().defined());
}

TEST(AutogradGradientProviderErrorTest, RefusesModulesThatCoupleSamples) {
  const at::Tensor w = ParameterLike(at::zeros({2}));
  EXPECT_THAT(
      AutogradGradientProvider::Create(
          std::make_shared<FunctionModel>(
              std::vector<NamedParameter>{{"w", w}},
              [](const std::vector<at::Tensor>& x) { return x[0]; },
              std::vector<std::string>{"bn1 (BatchNorm2d in training mode)"}),
          MeanSquaredErrorLoss()),
      StatusIs(absl::StatusCode::kInvalidArgument,
               testing::HasSubstr("bn1 (BatchNorm2d in training mode)")));
  EXPECT_THAT(AutogradGradientProvider::Create(nullptr, MeanSquaredErrorLoss()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       std::string("model: found null, expected a model")));
}

TEST(AutogradGradientProviderErrorTest, NamesTheSampleOfABadLabel) {
  const at::Tensor w = ParameterLike(Numbers<float>({3, 2}, 1.1));
  const at::Tensor b = ParameterLike(Numbers<float>({2}, 2.3));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto provider,
      AutogradGradientProvider::Create(SmallModel(w, b), CrossEntropyLoss()));
  EXPECT_THAT(
      provider->FlatGrads(
          {{Numbers<float>({4, 3}, 0.7)}, at::arange(4, at::kLong)}),
      StatusIs(absl::StatusCode::kInvalidArgument,
               std::string("labels: found value 2 at sample 2, expected "
                           "[0, 2)")));
}

}  // namespace
}  // namespace influence
