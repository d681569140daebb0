// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/dense_operator.h"

#include <limits>

#include "ATen/core/Tensor.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "operators/operator_testing.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

at::Tensor Symmetric(int64_t size) {
  const at::Tensor m = SeededNormal({size, size}, at::kDouble, 3);
  return m.add(m.t());
}

TEST(DenseOperatorTest, KeepsTheOperatorContract) {
  const at::Tensor c = Symmetric(7);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto op, DenseOperator::Create(c, 0.3));
  const at::Tensor dense = c.add(at::eye(7, at::kDouble), 0.3);
  OperatorContract contract;
  contract.relative_tolerance = 1e-14;
  ExpectOperatorContract(*op, dense, contract);
  // One rounding of the operand and one of the result.
  contract.dtype = at::kFloat;
  contract.relative_tolerance = 1e-6;
  ExpectOperatorContract(*op, dense, contract);
}

TEST(DenseOperatorTest, RefusesBadArguments) {
  EXPECT_THAT(DenseOperator::Create(at::zeros({2, 3}, at::kDouble)),
              StatusIs(kInvalid, HasSubstr("[2, 3]")));
  EXPECT_THAT(DenseOperator::Create(at::zeros({2, 2}, at::kLong)),
              StatusIs(kInvalid, HasSubstr("int64")));
  at::Tensor bad = Symmetric(2);
  bad[1][1] = std::numeric_limits<double>::infinity();
  EXPECT_THAT(DenseOperator::Create(bad),
              StatusIs(kInvalid, HasSubstr("matrix")));
  EXPECT_THAT(DenseOperator::Create(Symmetric(2),
                                    std::numeric_limits<double>::quiet_NaN()),
              StatusIs(kInvalid, HasSubstr("regularization")));
}

}  // namespace
}  // namespace influence
