// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/parameter_view.h"

#include <cstdint>
#include <optional>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/zeros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

using ::testing::ElementsAre;
using ::testing::Optional;

TEST(AsMatrixViewTest, TellsRowMajorFromTransposed) {
  const at::Tensor weight = at::zeros({2, 3});
  const auto plain = AsMatrixView(weight);
  ASSERT_TRUE(plain.has_value());
  EXPECT_EQ(plain->rows, 2);
  EXPECT_EQ(plain->columns, 3);
  EXPECT_FALSE(plain->transposed);
  const auto transposed = AsMatrixView(weight.t());
  ASSERT_TRUE(transposed.has_value());
  EXPECT_EQ(transposed->rows, 3);
  EXPECT_EQ(transposed->columns, 2);
  EXPECT_TRUE(transposed->transposed);
}

TEST(AsMatrixViewTest, AcceptsRowSlicesAndRefusesColumnSlices) {
  const at::Tensor weight = at::zeros({6, 4});
  EXPECT_TRUE(AsMatrixView(weight.slice(0, 2, 4)).has_value());
  EXPECT_FALSE(AsMatrixView(weight.slice(1, 1, 3)).has_value());
  EXPECT_FALSE(AsMatrixView(weight.slice(0, 0, 6, 2)).has_value());
}

TEST(AsMatrixViewTest, SeesStacksAndRepeatedMatrices) {
  EXPECT_EQ(AsMatrixView(at::zeros({5, 2, 3}))->groups, 5);
  EXPECT_TRUE(AsMatrixView(at::zeros({5, 2, 3}).transpose(1, 2))->transposed);
  EXPECT_EQ(AsMatrixView(at::zeros({2, 3}).expand({5, 2, 3}))->groups, 1);
  EXPECT_FALSE(AsMatrixView(at::zeros({2, 5, 3}).transpose(0, 1)).has_value());
}

TEST(AsMatrixViewTest, RefusesOtherNumbersOfDimensions) {
  EXPECT_FALSE(AsMatrixView(at::zeros({3})).has_value());
  EXPECT_FALSE(AsMatrixView(at::zeros({2, 2, 2, 2})).has_value());
}

TEST(BroadcastShapeTest, AlignsToTheRight) {
  EXPECT_THAT(BroadcastShape(at::zeros({4}), {2, 3, 4}),
              Optional(ElementsAre(1, 1, 4)));
  EXPECT_THAT(BroadcastShape(at::zeros({}), {2, 3}),
              Optional(ElementsAre(1, 1)));
  EXPECT_THAT(BroadcastShape(at::zeros({3, 1}), {2, 3, 4}),
              Optional(ElementsAre(1, 3, 1)));
}

TEST(BroadcastShapeTest, CountsExpandedDimensionsAsBroadcast) {
  EXPECT_THAT(BroadcastShape(at::zeros({3, 1}).expand({2, 3, 4}), {2, 3, 4}),
              Optional(ElementsAre(1, 3, 1)));
}

TEST(BroadcastShapeTest, RefusesOtherOrdersAndSizes) {
  EXPECT_EQ(BroadcastShape(at::zeros({4, 3}).t(), {2, 3, 4}), std::nullopt);
  EXPECT_EQ(BroadcastShape(at::zeros({5}), {2, 4}), std::nullopt);
  EXPECT_EQ(BroadcastShape(at::zeros({1, 1, 4}), {2, 4}), std::nullopt);
}

}  // namespace
}  // namespace influence
