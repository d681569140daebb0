// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/low_rank.h"

#include <limits>
#include <memory>
#include <tuple>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/diag.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/linalg_qr.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "operators/direct_inverse.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

at::Tensor WithEigenvalues(const std::vector<double>& eigenvalues) {
  const auto size = static_cast<int64_t>(eigenvalues.size());
  const at::Tensor q =
      std::get<0>(at::linalg_qr(SeededNormal({size, size}, at::kDouble, 1)));
  const at::Tensor d = at::diag(at::tensor(eigenvalues, at::kDouble));
  const at::Tensor c = q.matmul(d).matmul(q.t());
  return c.add(c.t()).div(2);
}

TEST(LowRankTest, DenseEigenpairsComeByFallingMagnitude) {
  const at::Tensor c = WithEigenvalues({0.1, -4, 2, 0, 3, -0.5});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const LowRank pairs,
                                 DenseEigenpairs(c, 4, at::kDouble));
  EXPECT_THAT(pairs.d,
              TensorNear(at::tensor({-4., 3., 2., -0.5}, at::kDouble), 1e-14));
  EXPECT_EQ(pairs.rank(), 4);
  EXPECT_EQ(pairs.num_parameters(), 6);
  EXPECT_TRUE(pairs.u.t().is_contiguous());
  EXPECT_THAT(c.matmul(pairs.u), TensorNear(pairs.u.mul(pairs.d), 1e-14));
  EXPECT_THAT(pairs.u.t().matmul(pairs.u),
              TensorNear(at::eye(4, at::kDouble), 1e-14));
  INFLUENCE_EXPECT_OK(ValidateLowRank(pairs));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const LowRank all,
                                 DenseEigenpairs(c, 6, at::kDouble));
  EXPECT_THAT(all.u.mul(all.d).matmul(all.u.t()), TensorNear(c, 1e-14));
}

TEST(LowRankTest, EigenvectorsAreRoundedToTheDtypeAskedFor) {
  const at::Tensor c = WithEigenvalues({1, 2, 3});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const LowRank exact,
                                 DenseEigenpairs(c, 2, at::kDouble));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const LowRank rounded,
                                 DenseEigenpairs(c, 2, at::kFloat));
  EXPECT_EQ(rounded.d.scalar_type(), at::kDouble);
  EXPECT_TRUE(rounded.u.equal(exact.u.to(at::kFloat)));
}

TEST(LowRankTest, AnOperatorIsMadeDense) {
  const at::Tensor c = WithEigenvalues({3, 2, 1, 0.5, 0.1});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto inverse, DirectInverse::Create(c, {0}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor dense,
                                 DenseMatrix(*inverse, at::kDouble));
  EXPECT_THAT(dense.matmul(c), TensorNear(at::eye(5, at::kDouble), 1e-13));
  EXPECT_TRUE(dense.equal(dense.t()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor single,
                                 DenseMatrix(*inverse, at::kFloat));
  EXPECT_EQ(single.scalar_type(), at::kDouble);
  EXPECT_THAT(single, TensorNear(dense, 1e-6));
}

TEST(LowRankTest, RefusesBadArguments) {
  const at::Tensor good = WithEigenvalues({2, 1, 0});
  EXPECT_THAT(DenseEigenpairs(good, 4, at::kDouble),
              StatusIs(kInvalid, HasSubstr("rank: found 4, expected 1 to 3")));
  EXPECT_THAT(DenseEigenpairs(good, 0, at::kDouble),
              StatusIs(kInvalid, HasSubstr("rank: found 0")));
  EXPECT_THAT(DenseEigenpairs(good.narrow(0, 0, 2), 1, at::kDouble),
              StatusIs(kInvalid, HasSubstr("[2, 3]")));
  EXPECT_THAT(DenseEigenpairs(good.to(at::kFloat), 1, at::kDouble),
              StatusIs(kInvalid, HasSubstr("float32")));
  at::Tensor nan = good.clone();
  nan[2][1] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(DenseEigenpairs(nan, 1, at::kDouble),
              StatusIs(kInvalid, HasSubstr("curvature")));

  const at::Tensor d = at::tensor({1.0, 2.0}, at::kDouble);
  EXPECT_THAT(ValidateLowRank({at::eye(1, at::kDouble), d}),
              StatusIs(kInvalid, HasSubstr("D: found shape [2]")));
  EXPECT_THAT(ValidateLowRank({at::zeros({1, 2}, at::kDouble), d}),
              StatusIs(kInvalid, HasSubstr("U: found shape [1, 2]")));
  EXPECT_THAT(ValidateLowRank({at::eye(2, at::kLong), d}),
              StatusIs(kInvalid, HasSubstr("U")));
  EXPECT_THAT(ValidateLowRank({at::eye(2, at::kDouble), d.to(at::kFloat)}),
              StatusIs(kInvalid, HasSubstr("D: found dtype float32")));
  EXPECT_THAT(ValidateLowRank({at::eye(2, at::kDouble), d.div(0)}),
              StatusIs(kInvalid, HasSubstr("D")));
}

}  // namespace
}  // namespace influence
