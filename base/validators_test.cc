// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/validators.h"

#include <cmath>
#include <limits>
#include <string>

#include "ATen/core/Tensor.h"
#include "ATen/ops/full.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/scalar_tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

testing::Matcher<const absl::Status&> Invalid(const std::string& message) {
  return StatusIs(absl::StatusCode::kInvalidArgument, message);
}

TEST(ValidatorsTest, ShapesAndDtypesHaveNames) {
  EXPECT_EQ(ShapeString(at::ones({2, 3})), "[2, 3]");
  EXPECT_EQ(ShapeString(at::scalar_tensor(1)), "[]");
  EXPECT_EQ(ShapeString(at::Tensor()), "undefined");
  EXPECT_EQ(DtypeName(at::kFloat), "float32");
  EXPECT_EQ(DtypeName(at::kDouble), "float64");
  EXPECT_EQ(DtypeName(at::kHalf), "float16");
  EXPECT_EQ(DtypeName(at::kBFloat16), "bfloat16");
  EXPECT_EQ(DtypeName(at::kByte), "uint8");
  EXPECT_EQ(DtypeName(at::kChar), "int8");
  EXPECT_EQ(DtypeName(at::kShort), "int16");
  EXPECT_EQ(DtypeName(at::kInt), "int32");
  EXPECT_EQ(DtypeName(at::kLong), "int64");
  EXPECT_EQ(DtypeName(at::kBool), "bool");
  EXPECT_EQ(DtypeName(at::kComplexDouble), "ComplexDouble");
}

TEST(ValidatorsTest, Defined) {
  INFLUENCE_EXPECT_OK(ValidateDefined("x", at::ones({1})));
  EXPECT_THAT(ValidateDefined("x", at::Tensor()),
              Invalid("x: found an undefined tensor, expected a value"));
}

TEST(ValidatorsTest, Floating) {
  INFLUENCE_EXPECT_OK(ValidateFloating("x", at::ones({1}, at::kFloat)));
  INFLUENCE_EXPECT_OK(ValidateFloating("x", at::ones({1}, at::kDouble)));
  EXPECT_THAT(ValidateFloating("x", at::ones({1}, at::kLong)),
              Invalid("x: found dtype int64, expected float32 or float64"));
  EXPECT_THAT(ValidateFloating("x", at::ones({1}, at::kHalf)),
              Invalid("x: found dtype float16, expected float32 or float64"));
  EXPECT_THAT(ValidateFloating("x", at::Tensor()),
              Invalid("x: found an undefined tensor, expected a value"));
}

TEST(ValidatorsTest, Integer) {
  INFLUENCE_EXPECT_OK(ValidateInteger("y", at::ones({1}, at::kByte)));
  INFLUENCE_EXPECT_OK(ValidateInteger("y", at::ones({1}, at::kLong)));
  EXPECT_THAT(ValidateInteger("y", at::ones({1}, at::kDouble)),
              Invalid("y: found dtype float64, expected integers"));
  EXPECT_THAT(ValidateInteger("y", at::ones({1}, at::kBool)),
              Invalid("y: found dtype bool, expected integers"));
}

TEST(ValidatorsTest, Shape) {
  INFLUENCE_EXPECT_OK(ValidateShape("g", at::ones({2, 3}), {2, 3}));
  EXPECT_THAT(ValidateShape("g", at::ones({2, 3}), {3, 2}),
              Invalid("g: found shape [2, 3], expected shape [3, 2]"));
  EXPECT_THAT(ValidateShape("g", at::ones({2, 3}), {2, 3, 1}),
              Invalid("g: found shape [2, 3], expected shape [2, 3, 1]"));
}

TEST(ValidatorsTest, VectorOrMatrix) {
  INFLUENCE_EXPECT_OK(ValidateVectorOrMatrix("v", at::ones({5}), 5));
  INFLUENCE_EXPECT_OK(ValidateVectorOrMatrix("v", at::ones({2, 5}), 5));
  INFLUENCE_EXPECT_OK(ValidateVectorOrMatrix("v", at::ones({0, 5}), 5));
  EXPECT_THAT(ValidateVectorOrMatrix("v", at::ones({2, 4}), 5),
              Invalid("v: found last dimension 4 (shape [2, 4]), expected 5"));
  EXPECT_THAT(ValidateVectorOrMatrix("v", at::ones({1, 2, 5}), 5),
              Invalid("v: found shape [1, 2, 5], expected a vector [5] or a "
                      "matrix [K, 5]"));
  EXPECT_THAT(ValidateVectorOrMatrix("v", at::scalar_tensor(1.f), 1),
              Invalid("v: found shape [], expected a vector [1] or a matrix "
                      "[K, 1]"));
  EXPECT_THAT(ValidateVectorOrMatrix("v", at::ones({5}, at::kInt), 5),
              Invalid("v: found dtype int32, expected float32 or float64"));
}

TEST(ValidatorsTest, FiniteNamesTheFirstEntryThatIsNot) {
  at::Tensor x = at::zeros({2, 3}, at::kDouble);
  INFLUENCE_EXPECT_OK(ValidateFinite("x", x));
  x[1][2] = kInfinity;
  EXPECT_THAT(ValidateFinite("x", x),
              Invalid("x: found infinity at index [1, 2], expected finite "
                      "values"));
  x[1][0] = -kInfinity;
  EXPECT_THAT(ValidateFinite("x", x),
              Invalid("x: found -infinity at index [1, 0], expected finite "
                      "values"));
  x[0][1] = std::nan("");
  EXPECT_THAT(ValidateFinite("x", x),
              Invalid("x: found NaN at index [0, 1], expected finite values"));
}

TEST(ValidatorsTest, FiniteTakesEveryKindOfTensor) {
  INFLUENCE_EXPECT_OK(ValidateFinite("x", at::ones({2}, at::kLong)));
  INFLUENCE_EXPECT_OK(ValidateFinite("x", at::zeros({0, 3})));
  // Whose sum is not finite.
  INFLUENCE_EXPECT_OK(ValidateFinite("x", at::full({4}, 3e38F)));
  INFLUENCE_EXPECT_OK(ValidateFinite("x", at::ones({2}).requires_grad_(true)));
  EXPECT_THAT(ValidateFinite("x", at::scalar_tensor(std::nan(""))),
              Invalid("x: found NaN at index [], expected finite values"));
}

TEST(ValidatorsTest, Numbers) {
  INFLUENCE_EXPECT_OK(ValidateNonNegative("damping", 0));
  EXPECT_THAT(ValidateNonNegative("damping", -0.5),
              Invalid("damping: found -0.5, expected a value >= 0"));
  EXPECT_THAT(ValidateNonNegative("damping", std::nan("")),
              Invalid("damping: found nan, expected a value >= 0"));
  EXPECT_THAT(ValidateNonNegative("damping", kInfinity),
              Invalid("damping: found inf, expected a value >= 0"));
  INFLUENCE_EXPECT_OK(ValidatePositive("scale", 1e-300));
  EXPECT_THAT(ValidatePositive("scale", 0),
              Invalid("scale: found 0, expected a value > 0"));
  EXPECT_THAT(ValidatePositive("scale", kInfinity),
              Invalid("scale: found inf, expected a value > 0"));
}

}  // namespace
}  // namespace influence
