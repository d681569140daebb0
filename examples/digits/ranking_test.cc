// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "examples/digits/ranking.h"

#include <cstdint>
#include <limits>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(OrderByDescendingTest, LargestFirstAndTiesKeepTheirOrder) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::vector<int64_t> order,
      OrderByDescending(at::tensor({1.0, 3.0, -2.0, 3.0, 1.0})));
  EXPECT_THAT(order, ElementsAre(1, 3, 0, 4, 2));
}

TEST(OrderByDescendingTest, RefusesWhatCannotBeOrdered) {
  EXPECT_THAT(
      OrderByDescending(
          at::tensor({1.0, std::numeric_limits<double>::quiet_NaN()})),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("scores")));
  EXPECT_THAT(
      OrderByDescending(at::zeros({2, 3})),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[2, 3]")));
}

TEST(CountFoundTest, CountsAlongTheOrder) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::vector<int64_t> counts,
      CountFound({3, 0, 2, 1}, {true, false, false, true}));
  EXPECT_THAT(counts, ElementsAre(0, 1, 2, 2, 2));
}

TEST(CountFoundTest, RefusesAnOrderThatIsNone) {
  EXPECT_THAT(CountFound({0, 0}, {true, false}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found index 0 twice")));
  EXPECT_THAT(
      CountFound({0, 2}, {true, false}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("found index 2")));
  EXPECT_THAT(CountFound({0}, {true, false}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found 1 indices, expected 2")));
}

TEST(ShareFoundTest, IsAShareOfTheWantedOnes) {
  const std::vector<int64_t> counts = {0, 1, 2, 2, 2, 3, 3, 3, 3, 4, 4};
  EXPECT_EQ(ShareFound(counts, 0), 0);
  EXPECT_EQ(ShareFound(counts, 0.1), 0.25);
  EXPECT_EQ(ShareFound(counts, 0.5), 0.75);
  EXPECT_EQ(ShareFound(counts, 1), 1);
}

TEST(ShareFoundTest, IsZeroWhereNothingIsWanted) {
  EXPECT_EQ(ShareFound({0, 0, 0}, 1), 0);
}

TEST(CorrelationTest, OfLinesAndOfAConstant) {
  const at::Tensor a = at::tensor({1.0, 2.0, 4.0});
  EXPECT_NEAR(Correlation(a, a.mul(3).add(1)), 1, 1e-15);
  EXPECT_NEAR(Correlation(a, a.neg()), -1, 1e-15);
  EXPECT_EQ(Correlation(a, at::zeros({3}, at::kDouble)), 0);
  // Centred: (-1, 0, 1) . (1, -2, 1) = 0.
  EXPECT_NEAR(
      Correlation(at::tensor({-1.0, 0.0, 1.0}), at::tensor({1.0, -2.0, 1.0})),
      0, 1e-15);
}

}  // namespace
}  // namespace influence
