// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/arnoldi.h"

#include <cmath>
#include <limits>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "operators/matrix_operator_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

ArnoldiOptions Options(int64_t rank) {
  ArnoldiOptions options;
  options.rank = rank;
  options.seed = 3;
  return options;
}

// 80 eigenvalues of both signs that fall in magnitude by a factor of 0.9.
std::vector<double> AlternatingEigenvalues() {
  std::vector<double> values;
  for (int i = 0; i < 80; ++i) {
    values.push_back((i % 3 == 1 ? -1 : 1) * std::pow(0.9, i));
  }
  return values;
}

at::Tensor First(const std::vector<double>& values, int64_t count) {
  return at::tensor(values, at::kDouble).narrow(0, 0, count);
}

void ExpectEigenpairs(const at::Tensor& c, const LowRank& pairs,
                      double tolerance) {
  const at::Tensor u = pairs.u.to(at::kDouble);
  const double scale = c.norm().item<double>();
  EXPECT_THAT(c.matmul(u), TensorNearAtScale(u.mul(pairs.d), tolerance, scale));
  EXPECT_THAT(u.t().matmul(u),
              TensorNear(at::eye(pairs.rank(), at::kDouble), tolerance));
}

TEST(ArnoldiTest, FindsTheEigenpairsOfLargestMagnitude) {
  const std::vector<double> values = AlternatingEigenvalues();
  const at::Tensor c = MatrixWithEigenvalues(values);
  for (const int64_t rank : {1, 6, 30}) {
    SCOPED_TRACE(absl::StrCat("rank ", rank));
    const MatrixOperator op(c);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const ArnoldiResult result,
                                   ArnoldiEigenpairs(op, Options(rank)));
    EXPECT_TRUE(result.converged);
    EXPECT_EQ(result.num_products, op.num_calls());
    EXPECT_EQ(result.pairs.rank(), rank);
    EXPECT_TRUE(result.pairs.u.t().is_contiguous());
    EXPECT_THAT(result.pairs.d, TensorNear(First(values, rank), 1e-10));
    ExpectEigenpairs(c, result.pairs, 1e-9);
  }
}

TEST(ArnoldiTest, IsTheDenseDecompositionAtFullRank) {
  const std::vector<double> values = AlternatingEigenvalues();
  const at::Tensor c = MatrixWithEigenvalues(values);
  for (const int64_t rank : {40, 80}) {  // 2 * 40 + 1 fills the space.
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const ArnoldiResult result,
        ArnoldiEigenpairs(MatrixOperator(c), Options(rank)));
    EXPECT_TRUE(result.converged);
    EXPECT_EQ(result.num_products, 80);
    EXPECT_THAT(result.pairs.d, TensorNear(First(values, rank), 1e-13));
    ExpectEigenpairs(c, result.pairs, 1e-13);
  }
}

TEST(ArnoldiTest, IsIndependentOfTheScaleOfTheMatrix) {
  const std::vector<double> values = AlternatingEigenvalues();
  const at::Tensor c = MatrixWithEigenvalues(values);
  for (const double scale : {1e-12, 1e9}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const ArnoldiResult result,
        ArnoldiEigenpairs(MatrixOperator(c.mul(scale)), Options(5)));
    EXPECT_TRUE(result.converged);
    EXPECT_THAT(result.pairs.d, TensorNear(First(values, 5).mul(scale), 1e-10));
  }
}

TEST(ArnoldiTest, FindsZeroEigenvaluesOfAMatrixOfLowRank) {
  std::vector<double> values(60, 0.0);
  values[0] = 3;
  values[1] = -1;
  const at::Tensor c = MatrixWithEigenvalues(values);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const ArnoldiResult result,
      ArnoldiEigenpairs(MatrixOperator(c), Options(6)));
  EXPECT_TRUE(result.converged);
  EXPECT_THAT(result.pairs.d, TensorNear(First(values, 6), 1e-13));
  ExpectEigenpairs(c, result.pairs, 1e-12);
}

TEST(ArnoldiTest, AMatrixOfZerosHasZeroEigenvalues) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const ArnoldiResult result,
      ArnoldiEigenpairs(MatrixOperator(at::zeros({50, 50}, at::kDouble)),
                        Options(4)));
  EXPECT_TRUE(result.converged);
  EXPECT_TRUE(result.pairs.d.equal(at::zeros({4}, at::kDouble)));
  EXPECT_THAT(result.pairs.u.t().matmul(result.pairs.u),
              TensorNear(at::eye(4, at::kDouble), 1e-14));
}

TEST(ArnoldiTest, TellsWhatHasNotConverged) {
  // Eigenvalues as close together as those of a path graph.
  std::vector<double> values;
  for (int i = 1; i <= 200; ++i) values.push_back(2 + 2 * std::cos(0.015 * i));
  const at::Tensor c = MatrixWithEigenvalues(values);
  ArnoldiOptions options = Options(5);
  options.max_restarts = 2;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ArnoldiResult result,
                                 ArnoldiEigenpairs(MatrixOperator(c), options));
  EXPECT_FALSE(result.converged);
  EXPECT_EQ(result.num_restarts, 2);
  EXPECT_LT(result.pairs.rank(), 5);
  EXPECT_EQ(result.pairs.u.size(1), result.pairs.rank());
  options.max_restarts = 300;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ArnoldiResult patient,
                                 ArnoldiEigenpairs(MatrixOperator(c), options));
  EXPECT_TRUE(patient.converged);
  EXPECT_THAT(patient.pairs.d, TensorNear(First(values, 5), 1e-9));
}

TEST(ArnoldiTest, TakesProductsInFloat32) {
  const std::vector<double> values = AlternatingEigenvalues();
  const at::Tensor c = MatrixWithEigenvalues(values);
  ArnoldiOptions options = Options(6);
  options.dtype = at::kFloat;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ArnoldiResult result,
                                 ArnoldiEigenpairs(MatrixOperator(c), options));
  EXPECT_TRUE(result.converged);
  EXPECT_EQ(result.pairs.u.scalar_type(), at::kFloat);
  EXPECT_THAT(result.pairs.d, TensorNear(First(values, 6), 1e-6));
  ExpectEigenpairs(c, result.pairs, 1e-5);
}

TEST(ArnoldiTest, TheFirstProductThatFailsEndsTheSearch) {
  const at::Tensor c = MatrixWithEigenvalues(AlternatingEigenvalues());
  // In the estimate of the norm, in the first factorisation and at full rank.
  for (const int64_t call : {0, 10}) {
    MatrixOperator op(c);
    op.FailFrom(call, absl::AbortedError("disk gone"));
    EXPECT_THAT(ArnoldiEigenpairs(op, Options(6)),
                StatusIs(absl::StatusCode::kAborted, HasSubstr("disk gone")));
    EXPECT_EQ(op.num_calls(), call + 1);
  }
  MatrixOperator op(c);
  op.FailFrom(0, absl::AbortedError("disk gone"));
  EXPECT_THAT(ArnoldiEigenpairs(op, Options(80)),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("disk gone")));
  at::Tensor bad = c.clone();
  bad[1][1] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(ArnoldiEigenpairs(MatrixOperator(bad), Options(6)),
              StatusIs(kInvalid, HasSubstr("product")));
}

TEST(ArnoldiTest, IsFixedByTheSeed) {
  const MatrixOperator op(MatrixWithEigenvalues(AlternatingEigenvalues()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ArnoldiResult first,
                                 ArnoldiEigenpairs(op, Options(5)));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ArnoldiResult second,
                                 ArnoldiEigenpairs(op, Options(5)));
  EXPECT_TRUE(first.pairs.u.equal(second.pairs.u));
  ArnoldiOptions options = Options(5);
  options.seed = 4;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ArnoldiResult other,
                                 ArnoldiEigenpairs(op, options));
  EXPECT_FALSE(first.pairs.u.equal(other.pairs.u));
}

TEST(ArnoldiTest, RefusesBadOptions) {
  const MatrixOperator op(MatrixWithEigenvalues({3, 2, 1}));
  EXPECT_THAT(ArnoldiEigenpairs(op, Options(4)),
              StatusIs(kInvalid, HasSubstr("rank: found 4, expected 1 to 3")));
  ArnoldiOptions options = Options(1);
  options.relative_tolerance = -1;
  EXPECT_THAT(ArnoldiEigenpairs(op, options),
              StatusIs(kInvalid, HasSubstr("relative_tolerance: found -1")));
  options = Options(1);
  options.max_restarts = 0;
  EXPECT_THAT(ArnoldiEigenpairs(op, options),
              StatusIs(kInvalid, HasSubstr("max_restarts: found 0")));
  options = Options(1);
  options.dtype = at::kInt;
  EXPECT_THAT(ArnoldiEigenpairs(op, options),
              StatusIs(kInvalid, HasSubstr("dtype: found int32")));
}

}  // namespace
}  // namespace influence
