// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/model.h"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/full.h"
#include "ATen/ops/ones.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

testing::Matcher<const absl::Status&> Invalid(const std::string& message) {
  return StatusIs(absl::StatusCode::kInvalidArgument, message);
}

FunctionModel ModelOf(const std::vector<NamedParameter>& parameters,
                      std::vector<std::string> coupling = {}) {
  return FunctionModel(
      parameters, [](const std::vector<at::Tensor>& x) { return x[0]; },
      std::move(coupling));
}

TEST(ModelTest, AnAliasCountsOnceUnderItsFirstName) {
  const at::Tensor shared = ParameterLike(at::ones({3, 2}, at::kDouble));
  const at::Tensor own = ParameterLike(at::ones({4}, at::kDouble));
  const FunctionModel model = ModelOf({{"embedding.weight", shared},
                                       {"body.bias", own},
                                       {"decoder.weight", shared}});
  ASSERT_EQ(model.parameters().size(), 2u);
  EXPECT_EQ(model.parameters()[0].name, "embedding.weight");
  EXPECT_EQ(model.parameters()[1].name, "body.bias");
  EXPECT_EQ(model.num_parameters(), 10);
  EXPECT_EQ(model.dtype(), at::kDouble);
}

TEST(ModelTest, FrozenTensorsAreNoParameters) {
  const FunctionModel model =
      ModelOf({{"frozen", at::ones({5})}, {"w", ParameterLike(at::ones({2}))}});
  ASSERT_EQ(model.parameters().size(), 1u);
  EXPECT_EQ(model.parameters()[0].name, "w");
  EXPECT_EQ(model.num_parameters(), 2);
}

TEST(ModelTest, RefusesToHaveNothingToTrain) {
  EXPECT_THAT(FunctionModel::Validate({{"frozen", at::ones({5})}}),
              Invalid("model: found no trainable parameter, expected at least "
                      "one that requires grad"));
}

TEST(ModelTest, RefusesMixedAndUnsupportedDtypes) {
  EXPECT_THAT(
      FunctionModel::Validate(
          {{"a", ParameterLike(at::ones({1}))},
           {"b", ParameterLike(at::ones({1}, at::kDouble))}}),
      Invalid("parameter b: found dtype float64, expected float32 as of a"));
  EXPECT_THAT(
      FunctionModel::Validate({{"a", ParameterLike(at::ones({1}, at::kHalf))}}),
      Invalid("parameter a: found dtype float16, expected float32 or float64"));
}

TEST(ModelTest, RefusesAParameterThatIsNotFinite) {
  EXPECT_THAT(
      FunctionModel::Validate(
          {{"layer.bias", ParameterLike(at::full({2}, std::nan("")))}}),
      Invalid("parameter layer.bias: found NaN at index [0], expected finite "
              "values"));
}

TEST(ModelTest, RefusesModulesThatCoupleSamplesByName) {
  const at::Tensor w = ParameterLike(at::ones({2}));
  INFLUENCE_EXPECT_OK(ValidateUncoupled(ModelOf({{"w", w}})));
  EXPECT_THAT(
      ValidateUncoupled(
          ModelOf({{"w", w}}, {"bn1 (BatchNorm2d in training mode)",
                               "drop (Dropout in training mode)"})),
      StatusIs(absl::StatusCode::kInvalidArgument,
               testing::StartsWith(
                   "model: found bn1 (BatchNorm2d in training mode), drop "
                   "(Dropout in training mode), expected modules")));
}

}  // namespace
}  // namespace influence
