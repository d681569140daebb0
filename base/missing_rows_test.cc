// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/missing_rows.h"

#include <limits>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/ones.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(MissingRowsTest, AreThoseThatAreNanThroughout) {
  const at::Tensor matrix = at::ones({4, 3}, at::kDouble);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(std::vector<int64_t> rows,
                                 FindMissingRows("m", matrix));
  EXPECT_THAT(rows, IsEmpty());
  matrix[1].fill_(kNan);
  matrix[3].fill_(kNan);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(rows, FindMissingRows("m", matrix));
  EXPECT_THAT(rows, ElementsAre(1, 3));
  // Further dimensions belong to the row, and a vector's rows are entries.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      rows, FindMissingRows("m", matrix.reshape({4, 3, 1})));
  EXPECT_THAT(rows, ElementsAre(1, 3));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(rows,
                                 FindMissingRows("m", matrix.select(1, 0)));
  EXPECT_THAT(rows, ElementsAre(1, 3));
}

TEST(MissingRowsTest, RefusesOtherEntriesThatAreNotFinite) {
  for (const double value : {kNan, std::numeric_limits<double>::infinity()}) {
    const at::Tensor matrix = at::ones({3, 2}, at::kDouble);
    matrix[0].fill_(kNan);
    matrix[2][1] = value;
    EXPECT_THAT(FindMissingRows("scores", matrix),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("scores: found")));
  }
  // Infinite throughout is no mark.
  const at::Tensor matrix = at::ones({2, 2}, at::kFloat);
  matrix[1].fill_(-std::numeric_limits<float>::infinity());
  EXPECT_THAT(
      FindMissingRows("scores", matrix),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("infinity")));
}

TEST(MissingRowsTest, AreTakenOutAndMarkedAgain) {
  const at::Tensor matrix = at::ones({3, 2}, at::kFloat);
  EXPECT_TRUE(WithoutMissingRows(matrix, {}).is_same(matrix));
  EXPECT_TRUE(WithMissingRows(matrix, {}).is_same(matrix));
  const at::Tensor marked = WithMissingRows(matrix, {0, 2});
  EXPECT_THAT(FindMissingRows("m", marked).value(), ElementsAre(0, 2));
  const at::Tensor zeros = WithoutMissingRows(marked, {0, 2});
  EXPECT_TRUE(zeros[1].equal(matrix[1]));
  EXPECT_EQ(zeros.sum().item<double>(), 2);
  EXPECT_EQ(matrix.sum().item<double>(), 6);
  EXPECT_THAT(UnionOfRows({0, 2, 5}, {1, 2}), ElementsAre(0, 1, 2, 5));
}

}  // namespace
}  // namespace influence
