// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/tensor_map.h"

#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

TEST(TensorMapTest, KeepsTheOrderOfInsertion) {
  TensorMap map;
  EXPECT_TRUE(map.empty());
  INFLUENCE_ASSERT_OK(map.Insert("second", at::ones({2})));
  INFLUENCE_ASSERT_OK(map.Insert("first", at::zeros({1})));
  EXPECT_EQ(map.size(), 2u);
  EXPECT_FALSE(map.empty());
  std::vector<std::string> names;
  for (const auto& [name, tensor] : map) names.push_back(name);
  EXPECT_THAT(names, testing::ElementsAre("second", "first"));
}

TEST(TensorMapTest, FindsByName) {
  TensorMap map;
  INFLUENCE_ASSERT_OK(map.Insert("a", at::ones({2})));
  INFLUENCE_ASSERT_OK(map.Insert("b", at::zeros({1})));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found, map.Find("b"));
  EXPECT_THAT(found, TensorNear(at::zeros({1}), 0));
  EXPECT_THAT(
      map.Find("c"),
      StatusIs(absl::StatusCode::kNotFound,
               std::string("tensor: found no \"c\", expected one of [a, b]")));
}

TEST(TensorMapTest, RefusesASecondTensorOfTheSameName) {
  TensorMap map;
  INFLUENCE_ASSERT_OK(map.Insert("a", at::ones({2})));
  EXPECT_THAT(map.Insert("a", at::zeros({2})),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       std::string("tensor: found \"a\" a second time")));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found, map.Find("a"));
  EXPECT_THAT(found, TensorNear(at::ones({2}), 0));
}

}  // namespace
}  // namespace influence
