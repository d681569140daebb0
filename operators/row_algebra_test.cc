// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/row_algebra.h"

#include <cmath>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(RowAlgebraTest, SumsInFloat64AcrossTiles) {
  // Wide enough for several tiles; in float32 the ones beside 1e8 would be
  // lost.
  at::Tensor a = at::zeros({2, 1'500'000}, at::kFloat).add_(1);
  a[0][0] = 1e8;
  EXPECT_THAT(RowDots(a, at::zeros({2, 1'500'000}, at::kFloat).add_(1)),
              ElementsAre(1e8 + 1'499'999, 1'500'000));
  const at::Tensor gram = RowGram(a, a);
  EXPECT_EQ(gram.scalar_type(), at::kDouble);
  EXPECT_EQ(gram[0][1].item<double>(), 1e8 + 1'499'999);
  EXPECT_EQ(RowNorms(a)[1], std::sqrt(1.5e6));
}

TEST(RowAlgebraTest, SelectsAndAssignsRows) {
  const at::Tensor a = SeededNormal({4, 3}, at::kDouble, 1);
  const at::Tensor picked = SelectRows(a, {3, 1});
  EXPECT_THAT(picked[0], TensorNear(a[3], 0));
  at::Tensor b = at::zeros({4, 3}, at::kDouble);
  AssignRows(b, {3, 1}, picked);
  EXPECT_THAT(b[1], TensorNear(a[1], 0));
  EXPECT_EQ(b[0].abs().sum().item<double>(), 0);
  EXPECT_THAT(NotDone({true, false, true, false}), ElementsAre(1, 3));
  EXPECT_THAT(SelectEntries<double>({5, 6, 7}, {2, 0}), ElementsAre(7, 5));
}

TEST(RowAlgebraTest, UnitRowsLeaveOutZerosAndComeBack) {
  at::Tensor matrix = SeededNormal({4, 5}, at::kDouble, 2);
  matrix[1].zero_();
  matrix[2].mul_(1e-250);
  matrix[3].mul_(1e250);
  const UnitRows unit = UnitRows::Of(matrix, at::kDouble);
  EXPECT_THAT(unit.indices, ElementsAre(0, 2, 3));
  for (const double norm : RowNorms(unit.rows)) {
    EXPECT_THAT(norm, DoubleNear(1, 1e-15));
  }
  const at::Tensor back = unit.Expand(unit.rows, matrix);
  for (int64_t k = 0; k < 4; ++k) {
    EXPECT_THAT(back[k], TensorNear(matrix[k], 1e-15));
  }
  const at::Tensor zeros = at::zeros({2, 5}, at::kFloat);
  const UnitRows none = UnitRows::Of(zeros, at::kDouble);
  EXPECT_THAT(none.indices, IsEmpty());
  EXPECT_TRUE(none.Expand(none.rows, zeros).equal(zeros));
}

}  // namespace
}  // namespace influence
