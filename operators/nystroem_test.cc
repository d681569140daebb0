// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/nystroem.h"

#include <cmath>
#include <limits>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/inverse.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "operators/matrix_operator_testing.h"
#include "operators/random_matrix.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

NystroemOptions Options(int64_t rank) {
  NystroemOptions options;
  options.rank = rank;
  options.seed = 3;
  return options;
}

// 40 eigenvalues that fall from 1 by a factor of 0.7.
std::vector<double> FallingEigenvalues() {
  std::vector<double> values;
  for (int i = 0; i < 40; ++i) values.push_back(std::pow(0.7, i));
  return values;
}

at::Tensor Dense(const LowRank& pairs) {
  const at::Tensor u = pairs.u.to(at::kDouble);
  return u.mul(pairs.d).matmul(u.t());
}

TEST(NystroemTest, EqualsTheFormulaItApproximatesBy) {
  const at::Tensor c = MatrixWithEigenvalues(FallingEigenvalues());
  const MatrixOperator op(c);
  NystroemOptions options = Options(8);
  options.num_definiteness_products = 0;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const LowRank pairs,
                                 NystroemEigenpairs(op, options));
  EXPECT_EQ(op.num_calls(), 1);
  const at::Tensor y = c.matmul(RandomOrthonormalRows(8, 40, 3).t());
  const at::Tensor core = RandomOrthonormalRows(8, 40, 3).matmul(y);
  // The core's condition number is some hundred.
  EXPECT_THAT(Dense(pairs),
              TensorNear(y.matmul(at::inverse(core)).matmul(y.t()), 1e-8));
  EXPECT_THAT(pairs.u.t().matmul(pairs.u),
              TensorNear(at::eye(8, at::kDouble), 1e-13));
  for (int64_t i = 0; i < 8; ++i) {
    const double value = pairs.d[i].item<double>();
    EXPECT_GE(value, 0);
    if (i > 0) {
      EXPECT_LE(value, pairs.d[i - 1].item<double>());
    }
  }
}

TEST(NystroemTest, IsExactForAMatrixOfThatRank) {
  std::vector<double> values(40, 0.0);
  values[0] = 3;
  values[1] = 1;
  values[2] = 0.5;
  const at::Tensor c = MatrixWithEigenvalues(values);
  for (const int64_t rank : {3, 10, 40}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const LowRank pairs,
        NystroemEigenpairs(MatrixOperator(c), Options(rank)));
    EXPECT_EQ(pairs.rank(), rank);
    EXPECT_THAT(Dense(pairs), TensorNear(c, 1e-10));
  }
}

TEST(NystroemTest, IsTheDenseDecompositionAtFullRank) {
  const at::Tensor c = MatrixWithEigenvalues(FallingEigenvalues());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const LowRank pairs, NystroemEigenpairs(MatrixOperator(c), Options(40)));
  EXPECT_THAT(Dense(pairs), TensorNear(c, 1e-13));
  EXPECT_THAT(pairs.d,
              TensorNear(at::tensor(FallingEigenvalues(), at::kDouble), 1e-13));
}

TEST(NystroemTest, ErrorIsOfTheSizeOfTheEigenvaluesLeftOut) {
  const at::Tensor c = MatrixWithEigenvalues(FallingEigenvalues());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const LowRank pairs, NystroemEigenpairs(MatrixOperator(c), Options(20)));
  // The sum of those beyond the first 20 is 0.7^20 / 0.3 = 0.0027; the expected
  // error is a few times that.
  EXPECT_LT(Dense(pairs).sub(c).norm().item<double>(), 0.03);
}

TEST(NystroemTest, IndefiniteIsAnErrorThatNamesTheSecondOrder) {
  std::vector<double> values = FallingEigenvalues();
  values[1] = -0.9;
  EXPECT_THAT(NystroemEigenpairs(MatrixOperator(MatrixWithEigenvalues(values)),
                                 Options(30)),
              StatusIs(kInvalid, AllOf(HasSubstr("indefinite"),
                                       HasSubstr("--second-order"))));
  EXPECT_THAT(NystroemEigenpairs(MatrixOperator(MatrixWithEigenvalues(values)),
                                 Options(40)),
              StatusIs(kInvalid, HasSubstr("second order")));
  // Too small for the sketch to see it.
  values = FallingEigenvalues();
  values[20] = -0.02;
  const at::Tensor c = MatrixWithEigenvalues(values);
  NystroemOptions options = Options(3);
  options.num_definiteness_products = 0;
  INFLUENCE_EXPECT_OK(NystroemEigenpairs(MatrixOperator(c), options));
  EXPECT_THAT(NystroemEigenpairs(MatrixOperator(c), Options(3)),
              StatusIs(kInvalid, HasSubstr("second order")));
}

TEST(NystroemTest, RoundingIsNotTakenForNegativeCurvature) {
  // Rank 3 of 40 in float32: eigenvalues of zero come out as +-1e-8.
  std::vector<double> values(40, 0.0);
  values[0] = 3;
  values[1] = 1;
  values[2] = 0.5;
  const at::Tensor c = MatrixWithEigenvalues(values);
  NystroemOptions options = Options(10);
  options.dtype = at::kFloat;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const LowRank pairs, NystroemEigenpairs(MatrixOperator(c), options));
  EXPECT_EQ(pairs.u.scalar_type(), at::kFloat);
  EXPECT_EQ(pairs.d.scalar_type(), at::kDouble);
  EXPECT_THAT(Dense(pairs), TensorNear(c, 1e-5));
  options.rank = 40;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const LowRank all, NystroemEigenpairs(MatrixOperator(c), options));
  EXPECT_THAT(Dense(all), TensorNear(c, 1e-5));
}

TEST(NystroemTest, IsFixedByTheSeed) {
  const MatrixOperator op(MatrixWithEigenvalues(FallingEigenvalues()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const LowRank first,
                                 NystroemEigenpairs(op, Options(5)));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const LowRank second,
                                 NystroemEigenpairs(op, Options(5)));
  EXPECT_TRUE(first.u.equal(second.u));
  EXPECT_TRUE(first.d.equal(second.d));
  NystroemOptions options = Options(5);
  options.seed = 4;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const LowRank other,
                                 NystroemEigenpairs(op, options));
  EXPECT_FALSE(first.d.equal(other.d));
}

TEST(NystroemTest, AMatrixOfZerosHasZeroEigenvalues) {
  for (const int64_t rank : {2, 5}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const LowRank pairs,
        NystroemEigenpairs(MatrixOperator(at::zeros({5, 5}, at::kDouble)),
                           Options(rank)));
    EXPECT_TRUE(pairs.d.equal(at::zeros({rank}, at::kDouble)));
    EXPECT_THAT(pairs.u.t().matmul(pairs.u),
                TensorNear(at::eye(rank, at::kDouble), 1e-14));
  }
}

TEST(NystroemTest, ReturnsTheStatusOfAFailedProduct) {
  MatrixOperator op(MatrixWithEigenvalues(FallingEigenvalues()));
  op.FailFrom(0, absl::AbortedError("disk gone"));
  EXPECT_THAT(NystroemEigenpairs(op, Options(5)),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("disk gone")));
  at::Tensor bad = MatrixWithEigenvalues({3, 2, 1});
  bad[1][1] = std::numeric_limits<double>::infinity();
  EXPECT_THAT(NystroemEigenpairs(MatrixOperator(bad), Options(2)),
              StatusIs(kInvalid, HasSubstr("product")));
}

TEST(NystroemTest, RefusesBadOptions) {
  const MatrixOperator op(MatrixWithEigenvalues({3, 2, 1}));
  EXPECT_THAT(NystroemEigenpairs(op, Options(4)),
              StatusIs(kInvalid, HasSubstr("rank: found 4, expected 1 to 3")));
  EXPECT_THAT(NystroemEigenpairs(op, Options(0)),
              StatusIs(kInvalid, HasSubstr("rank: found 0")));
  NystroemOptions options = Options(1);
  options.dtype = at::kLong;
  EXPECT_THAT(NystroemEigenpairs(op, options),
              StatusIs(kInvalid, HasSubstr("dtype: found int64")));
  options = Options(1);
  options.num_definiteness_products = -1;
  EXPECT_THAT(
      NystroemEigenpairs(op, options),
      StatusIs(kInvalid, HasSubstr("num_definiteness_products: found -1")));
}

}  // namespace
}  // namespace influence
