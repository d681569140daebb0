// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/operator_testing.h"

#include <string>

#include "ATen/ops/equal.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

void ExpectEqualsDense(const Operator& op, const at::Tensor& dense,
                       const OperatorContract& contract) {
  const int64_t size = op.input_size();
  const double scale = dense.abs().max().item<double>();
  const at::Tensor identity = at::eye(size, at::dtype(contract.dtype));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor all, op.Apply(identity));
  for (int64_t column = 0; column < size; ++column) {
    SCOPED_TRACE(absl::StrCat("column ", column));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor one, op.Apply(identity[column]));
    const at::Tensor expected = dense.select(1, column).to(contract.dtype);
    EXPECT_THAT(
        one, TensorNearAtScale(expected, contract.relative_tolerance, scale));
    EXPECT_THAT(all[column], TensorNearAtScale(
                                 expected, contract.relative_tolerance, scale));
    if (testing::Test::HasFailure()) return;  // One column says enough.
  }
}

void ExpectLinear(const Operator& op, const at::Tensor& x, const at::Tensor& y,
                  double tolerance) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor ax, op.Apply(x));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor ay, op.Apply(y));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor combined,
                                 op.Apply(x.mul(3).add(y, -0.5)));
  EXPECT_THAT(combined, TensorNear(ax.mul(3).add(ay, -0.5), 10 * tolerance))
      << "not linear";
}

void ExpectSymmetric(const Operator& op, const at::Tensor& x,
                     const at::Tensor& y, double tolerance) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor ax, op.Apply(x));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor ay, op.Apply(y));
  const at::Tensor left = at::matmul(ax, y.t());
  const at::Tensor right = at::matmul(x, ay.t());
  // The products may cancel: the bound is that of their terms.
  const double scale = (ax.norm().item<double>() * y.norm().item<double>() +
                        ay.norm().item<double>() * x.norm().item<double>());
  EXPECT_THAT(left, TensorNearAtScale(right, 10 * tolerance, scale))
      << "not symmetric";
}

void ExpectShapes(const Operator& op, const at::Tensor& x) {
  const at::Tensor before = x.clone();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor matrix, op.Apply(x));
  EXPECT_EQ(matrix.sizes(), x.sizes());
  EXPECT_EQ(matrix.scalar_type(), x.scalar_type());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor vector, op.Apply(x[0]));
  EXPECT_EQ(vector.sizes(), x[0].sizes());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor empty, op.Apply(x.narrow(0, 0, 0)));
  EXPECT_EQ(empty.sizes(), x.narrow(0, 0, 0).sizes());
  EXPECT_TRUE(at::equal(x, before)) << "the operand was changed";
  matrix.add_(1);
  EXPECT_TRUE(at::equal(x, before)) << "the result is a view of the operand";
}

void ExpectRefusals(const Operator& op, at::ScalarType dtype) {
  const int64_t size = op.input_size();
  const auto names_both =
      AllOf(HasSubstr(absl::StrCat(size + 1)), HasSubstr(absl::StrCat(size)));
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(op.Apply(at::zeros({size + 1}, dtype)),
              StatusIs(invalid, names_both));
  EXPECT_THAT(op.Apply(at::zeros({2, size + 1}, dtype)),
              StatusIs(invalid, names_both));
  EXPECT_THAT(op.Apply(at::zeros({1, 2, size}, dtype)),
              StatusIs(invalid, HasSubstr(absl::StrCat(size))));
  EXPECT_THAT(op.Apply(at::zeros({size}, at::kLong)),
              StatusIs(invalid, HasSubstr("int64")));
  EXPECT_THAT(op.Apply(at::Tensor()),
              StatusIs(invalid, HasSubstr("undefined")));
}

void ExpectBilinearForm(const Operator& op, const at::Tensor& x,
                        const at::Tensor& y, double tolerance) {
  const std::unique_ptr<const BilinearForm> form = op.AsBilinearForm();
  EXPECT_EQ(form->input_size(), op.input_size());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor ax, op.Apply(x));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor products, form->InnerProd(x, y));
  EXPECT_THAT(products, TensorNear(at::matmul(ax, y.t()), 10 * tolerance))
      << "another bilinear form";
}

}  // namespace

void ExpectOperatorContract(const Operator& op, const at::Tensor& dense,
                            const OperatorContract& contract) {
  SCOPED_TRACE(absl::StrCat("operands of seed ", contract.seed));
  const int64_t size = op.input_size();
  ASSERT_EQ(dense.sizes(), at::IntArrayRef({size, size}));
  const at::Tensor x = SeededNormal({3, size}, contract.dtype, contract.seed);
  const at::Tensor y =
      SeededNormal({3, size}, contract.dtype, contract.seed + 1);
  ExpectEqualsDense(op, dense, contract);
  ExpectLinear(op, x, y, contract.relative_tolerance);
  if (contract.symmetric) {
    ExpectSymmetric(op, x, y, contract.relative_tolerance);
  }
  ExpectShapes(op, x);
  ExpectRefusals(op, contract.dtype);
  ExpectBilinearForm(op, x, y, contract.relative_tolerance);
}

}  // namespace influence
