// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/direct_inverse.h"

#include <limits>
#include <memory>
#include <tuple>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/diag.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/inverse.h"
#include "ATen/ops/linalg_qr.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "operators/operator_testing.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// A symmetric matrix of the given eigenvalues.
at::Tensor WithEigenvalues(const std::vector<double>& eigenvalues) {
  const auto size = static_cast<int64_t>(eigenvalues.size());
  const at::Tensor q =
      std::get<0>(at::linalg_qr(SeededNormal({size, size}, at::kDouble, 1)));
  const at::Tensor d = at::diag(at::tensor(eigenvalues, at::kDouble));
  const at::Tensor c = q.matmul(d).matmul(q.t());
  return c.add(c.t()).div(2);
}

at::Tensor DenseInverse(const at::Tensor& c, double regularization) {
  return at::inverse(c.add(at::eye(c.size(0), at::kDouble), regularization));
}

TEST(DirectInverseTest, KeepsTheOperatorContract) {
  const at::Tensor c = WithEigenvalues({3, 2, 1, 0.5, 0.1, 0.01});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto inverse,
                                 DirectInverse::Create(c, {0.05}));
  EXPECT_FALSE(inverse->smallest_eigenvalue().has_value());
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    OperatorContract contract;
    contract.dtype = dtype;
    // Condition number 50 times a few roundings; float operands are solved for
    // in float64 and rounded once.
    contract.relative_tolerance = dtype == at::kFloat ? 1e-5 : 1e-13;
    ExpectOperatorContract(*inverse, DenseInverse(c, 0.05), contract);
  }
}

TEST(DirectInverseTest,
     SolvesAnIndefiniteMatrixAndReportsItsSmallestEigenvalue) {
  const at::Tensor c = WithEigenvalues({3, 1, -0.5, 0.25, -2});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto inverse, DirectInverse::Create(c, {0.1}));
  ASSERT_TRUE(inverse->smallest_eigenvalue().has_value());
  EXPECT_NEAR(*inverse->smallest_eigenvalue(), -1.9, 1e-12);
  OperatorContract contract;
  contract.relative_tolerance = 1e-13;
  ExpectOperatorContract(*inverse, DenseInverse(c, 0.1), contract);
}

TEST(DirectInverseTest, SingularMatrixIsAnErrorThatNamesTheRegularization) {
  // Rank 2 of 4: rounding may let Cholesky pass.
  EXPECT_THAT(DirectInverse::Create(WithEigenvalues({2, 1, 0, 0}), {0}),
              StatusIs(kInvalid, AllOf(HasSubstr("regularization: found 0"),
                                       HasSubstr("singular"),
                                       HasSubstr("--regularization"))));
  // A zero block, as a dead unit leaves it.
  EXPECT_THAT(DirectInverse::Create(at::zeros({3, 3}, at::kDouble), {0}),
              StatusIs(kInvalid, HasSubstr("singular")));
  // lambda meets an eigenvalue of -lambda.
  EXPECT_THAT(
      DirectInverse::Create(WithEigenvalues({2, 1, -0.5}), {0.5}),
      StatusIs(kInvalid, AllOf(HasSubstr("found 0.5"), HasSubstr("singular"))));
}

TEST(DirectInverseTest, ARegularizationMakesASingularMatrixInvertible) {
  const at::Tensor c = WithEigenvalues({2, 1, 0, 0});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto inverse,
                                 DirectInverse::Create(c, {1e-3}));
  EXPECT_FALSE(inverse->smallest_eigenvalue().has_value());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor dense,
                                 inverse->Apply(at::eye(4, at::kDouble)));
  // Condition number 2,000.
  EXPECT_THAT(dense, TensorNear(DenseInverse(c, 1e-3), 1e-11));
}

TEST(DirectInverseTest, CountsNoiseOfTheEntriesAsZeroWithoutRegularization) {
  // An eigenvalue that float32 entries cannot tell from zero.
  const at::Tensor c = WithEigenvalues({1, 0.5, 1e-8});
  DirectInverseOptions options;
  INFLUENCE_EXPECT_OK(DirectInverse::Create(c, options));
  options.relative_accuracy = std::numeric_limits<float>::epsilon();
  EXPECT_THAT(DirectInverse::Create(c, options),
              StatusIs(kInvalid, HasSubstr("singular")));
  options.regularization = 1e-6;
  INFLUENCE_EXPECT_OK(DirectInverse::Create(c, options));
}

TEST(DirectInverseTest, AnotherRegularizationIsAFreshInverseOfTheSameMatrix) {
  const at::Tensor c = WithEigenvalues({3, 1, 0.5, -0.2});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto first, DirectInverse::Create(c, {0.1}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto second, first->WithRegularization(0.7));
  EXPECT_EQ(second->c().data_ptr(), first->c().data_ptr());
  EXPECT_EQ(second->regularization(), 0.7);
  EXPECT_TRUE(first->smallest_eigenvalue().has_value());
  EXPECT_FALSE(second->smallest_eigenvalue().has_value());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor dense,
                                 second->Apply(at::eye(4, at::kDouble)));
  EXPECT_THAT(dense, TensorNear(DenseInverse(c, 0.7), 1e-13));
  EXPECT_THAT(first->WithRegularization(-1),
              StatusIs(kInvalid, HasSubstr("regularization: found -1")));
}

TEST(DirectInverseTest, RefusesBadMatricesAndOptions) {
  const at::Tensor good = WithEigenvalues({2, 1});
  EXPECT_THAT(DirectInverse::Create(at::zeros({2, 3}, at::kDouble), {0}),
              StatusIs(kInvalid, HasSubstr("[2, 3]")));
  EXPECT_THAT(DirectInverse::Create(good.to(at::kFloat), {0}),
              StatusIs(kInvalid, HasSubstr("float32")));
  EXPECT_THAT(DirectInverse::Create(at::Tensor(), {0}),
              StatusIs(kInvalid, HasSubstr("undefined")));
  at::Tensor nan = good.clone();
  nan[1][0] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(
      DirectInverse::Create(nan, {0}),
      StatusIs(kInvalid, AllOf(HasSubstr("curvature"), HasSubstr("[1, 0]"))));
  EXPECT_THAT(
      DirectInverse::Create(good, {std::numeric_limits<double>::infinity()}),
      StatusIs(kInvalid, HasSubstr("regularization")));
}

}  // namespace
}  // namespace influence
