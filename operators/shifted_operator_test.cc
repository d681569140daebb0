// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/shifted_operator.h"

#include <limits>
#include <memory>

#include "ATen/core/Tensor.h"
#include "ATen/ops/eye.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "operators/dense_operator.h"
#include "operators/operator_testing.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(ShiftedOperatorTest, KeepsTheOperatorContract) {
  const at::Tensor m = SeededNormal({6, 6}, at::kDouble, 1);
  const at::Tensor c = m.add(m.t());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const Operator> dense,
                                 DenseOperator::Create(c));
  for (const double shift : {0.25, -3.0}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(auto op,
                                   ShiftedOperator::Create(dense, shift));
    EXPECT_EQ(op->shift(), shift);
    OperatorContract contract;
    contract.relative_tolerance = 1e-14;
    ExpectOperatorContract(*op, c.add(at::eye(6, at::kDouble), shift),
                           contract);
  }
}

TEST(ShiftedOperatorTest, RefusesBadArguments) {
  EXPECT_THAT(ShiftedOperator::Create(nullptr, 1),
              StatusIs(kInvalid, HasSubstr("operator")));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<const Operator> dense,
      DenseOperator::Create(at::eye(2, at::kDouble)));
  EXPECT_THAT(
      ShiftedOperator::Create(dense, std::numeric_limits<double>::infinity()),
      StatusIs(kInvalid, HasSubstr("shift")));
}

}  // namespace
}  // namespace influence
