// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/batch.h"

#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/scalar_tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

testing::Matcher<const absl::Status&> Invalid(const std::string& message) {
  return StatusIs(absl::StatusCode::kInvalidArgument, message);
}

Batch SmallBatch() {
  return {
      {at::arange(12, at::kDouble).reshape({4, 3}), at::arange(4, at::kLong)},
      at::arange(4, at::kLong)};
}

TEST(BatchTest, SizeIsThatOfTheLabels) {
  EXPECT_EQ(SmallBatch().size(), 4);
  EXPECT_EQ(Batch().size(), 0);
  EXPECT_EQ((Batch{{}, at::scalar_tensor(1)}.size()), 0);
}

TEST(BatchTest, AcceptsSeveralInputs) {
  INFLUENCE_EXPECT_OK(ValidateBatch(SmallBatch()));
}

TEST(BatchTest, RefusesWhatIsMissing) {
  Batch batch = SmallBatch();
  batch.x.clear();
  EXPECT_THAT(ValidateBatch(batch),
              Invalid("x: found no input, expected at least one"));
  batch = SmallBatch();
  batch.x[1] = at::Tensor();
  EXPECT_THAT(ValidateBatch(batch),
              Invalid("x1: found an undefined tensor, expected a value"));
  batch = SmallBatch();
  batch.y = at::Tensor();
  EXPECT_THAT(ValidateBatch(batch),
              Invalid("y: found an undefined tensor, expected a value"));
}

TEST(BatchTest, RefusesEmptyData) {
  EXPECT_THAT(ValidateBatch({{at::ones({0, 3})}, at::ones({0})}),
              Invalid("y: found 0 samples, expected at least one"));
}

TEST(BatchTest, RefusesMismatchedCounts) {
  Batch batch = SmallBatch();
  batch.x[1] = at::ones({5});
  EXPECT_THAT(ValidateBatch(batch),
              Invalid("x1: found 5 samples, expected 4 as in y"));
  batch.x[1] = at::scalar_tensor(1);
  EXPECT_THAT(
      ValidateBatch(batch),
      Invalid("x1: found a scalar, expected a first dimension of samples"));
}

TEST(BatchTest, RefusesEntriesThatAreNotFinite) {
  Batch batch = SmallBatch();
  batch.x[0] = batch.x[0].clone();
  batch.x[0][2][1] = std::nan("");
  EXPECT_THAT(ValidateBatch(batch),
              Invalid("x0: found NaN at index [2, 1], expected finite values"));
  batch = SmallBatch();
  batch.y = at::zeros({4}, at::kFloat);
  batch.y[3] = -std::numeric_limits<float>::infinity();
  EXPECT_THAT(
      ValidateBatch(batch),
      Invalid("y: found -infinity at index [3], expected finite values"));
}

TEST(BatchTest, SlicesAreViews) {
  const Batch batch = SmallBatch();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch slice, SliceBatch(batch, 1, 3));
  EXPECT_EQ(slice.size(), 2);
  EXPECT_THAT(slice.x[0], TensorNear(batch.x[0].slice(0, 1, 3), 0));
  EXPECT_THAT(slice.x[1], TensorNear(batch.x[1].slice(0, 1, 3), 0));
  EXPECT_THAT(slice.y, TensorNear(batch.y.slice(0, 1, 3), 0));
  EXPECT_TRUE(slice.x[0].is_alias_of(batch.x[0]));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch none, SliceBatch(batch, 4, 4));
  EXPECT_EQ(none.size(), 0);
}

TEST(BatchTest, RefusesARangeOutsideTheBatch) {
  EXPECT_THAT(
      SliceBatch(SmallBatch(), 2, 5),
      StatusIs(absl::StatusCode::kInvalidArgument,
               std::string("samples: found range [2, 5), expected a range in "
                           "[0, 4]")));
  for (const auto& [begin, end] : {std::pair(-1, 2), std::pair(3, 2)}) {
    EXPECT_THAT(SliceBatch(SmallBatch(), begin, end),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         testing::StartsWith("samples: found range")));
  }
}

}  // namespace
}  // namespace influence
