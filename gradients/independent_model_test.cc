// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/independent_model.h"

#include <memory>
#include <vector>

#include "ATen/ATen.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using testing::HasSubstr;

// Counts passes by the number of samples in them.
std::shared_ptr<const Model> Counting(const FunctionModel::Function& function,
                                      std::vector<int64_t>* sizes) {
  const at::Tensor w = ParameterLike(at::ones({3}, at::kDouble));
  return std::make_shared<FunctionModel>(
      std::vector<NamedParameter>{{"w", w}},
      [w, function, sizes](const std::vector<at::Tensor>& x) {
        sizes->push_back(x[0].size(0));
        return function({x[0].mul(w)});
      });
}

TEST(IndependentModelTest, OnePassWhereSamplesKeepToThemselves) {
  std::vector<int64_t> sizes;
  const IndependentModel model(
      Counting([](const auto& x) { return x[0].sum(1); }, &sizes), false);
  const at::Tensor x = at::randn({4, 3}, at::kDouble);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor output, model.Forward({x}));
  EXPECT_THAT(output, TensorNear(x.sum(1), 1e-14));
  EXPECT_EQ(sizes, std::vector<int64_t>({4}));
  EXPECT_EQ(model.parameters()[0].name, "w");
}

TEST(IndependentModelTest, OneByOneWhereABatchMixes) {
  std::vector<int64_t> sizes;
  // Mixes only where some entry is large.
  const IndependentModel model(Counting(
                                   [](const auto& x) {
                                     const bool any =
                                         x[0].max().template item<double>() > 2;
                                     return any ? x[0].sub(x[0].mean()) : x[0];
                                   },
                                   &sizes),
                               false);
  const at::Tensor x =
      at::tensor({1.0, 2.0, 0.5, 3.0, 1.0, 1.0}, at::kDouble).view({2, 3});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor output, model.Forward({x}));
  EXPECT_THAT(output.detach()[0], TensorNear(x[0], 1e-14));
  EXPECT_THAT(output.detach()[1], TensorNear(x[1].sub(x[1].mean()), 1e-14));
  EXPECT_EQ(sizes, std::vector<int64_t>({2, 1, 1}));
}

TEST(IndependentModelTest, OneByOneFromTheStart) {
  std::vector<int64_t> sizes;
  const IndependentModel model(
      Counting([](const auto& x) { return x[0].sum(1); }, &sizes), true);
  INFLUENCE_ASSERT_OK(model.Forward({at::ones({3, 3}, at::kDouble)}).status());
  EXPECT_EQ(sizes, std::vector<int64_t>({1, 1, 1}));
}

TEST(IndependentModelTest, RefusesSamplesOfDifferentShapes) {
  std::vector<int64_t> sizes;
  const IndependentModel model(
      Counting(
          [](const auto& x) {
            return x[0].masked_select(x[0].gt(0)).unsqueeze(0);
          },
          &sizes),
      false);
  const at::Tensor x =
      at::tensor({1.0, 1.0, 0.0, 1.0, 1.0, 1.0}, at::kDouble).view({2, 3});
  EXPECT_THAT(
      model.Forward({x}),
      StatusIs(
          absl::StatusCode::kInvalidArgument,
          HasSubstr("found shape [1, 3] for one sample alone and [1, 2]")));
}

}  // namespace
}  // namespace influence
