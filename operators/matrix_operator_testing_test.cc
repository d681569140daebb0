// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/matrix_operator_testing.h"

#include "ATen/core/Tensor.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/linalg_eigvalsh.h"
#include "ATen/ops/tensor.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "operators/operator_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

TEST(MatrixOperatorTest, IsTheProductWithAMatrixOfTheEigenvaluesAskedFor) {
  const at::Tensor c = MatrixWithEigenvalues({3, -1, 0.5});
  EXPECT_THAT(at::linalg_eigvalsh(c),
              TensorNear(at::tensor({-1.0, 0.5, 3.0}, at::kDouble), 1e-14));
  ExpectOperatorContract(MatrixOperator(c), c);
}

TEST(MatrixOperatorTest, FailsFromTheCallNamed) {
  MatrixOperator op(MatrixWithEigenvalues({3, -1}));
  op.FailFrom(1, absl::AbortedError("gone"));
  INFLUENCE_EXPECT_OK(op.Apply(at::eye(2, at::kDouble)));
  EXPECT_THAT(op.Apply(at::eye(2, at::kDouble)),
              StatusIs(absl::StatusCode::kAborted, testing::HasSubstr("gone")));
  EXPECT_EQ(op.num_calls(), 2);
}

}  // namespace
}  // namespace influence
