// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/conjugate_gradient.h"

#include <cmath>
#include <limits>
#include <memory>
#include <tuple>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/diag.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/inverse.h"
#include "ATen/ops/linalg_qr.h"
#include "ATen/ops/logspace.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "operators/dense_operator.h"
#include "operators/operator.h"
#include "operators/operator_testing.h"
#include "operators/problem_testing.h"
#include "operators/solve_report.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

at::Tensor WithEigenvalues(const at::Tensor& eigenvalues) {
  const int64_t size = eigenvalues.size(0);
  const at::Tensor q =
      std::get<0>(at::linalg_qr(SeededNormal({size, size}, at::kDouble, 1)));
  const at::Tensor c = q.matmul(at::diag(eigenvalues)).matmul(q.t());
  return c.add(c.t()).div(2);
}

// Positive definite, of condition number 10^decades.
at::Tensor PositiveDefinite(int64_t size, double decades) {
  return WithEigenvalues(at::logspace(0, -decades, size, 10, at::kDouble));
}

// A v = C v that counts the right-hand sides it was applied to.
class CountingOperator : public Operator {
 public:
  explicit CountingOperator(at::Tensor c) : c_(std::move(c)) {}

  int64_t input_size() const override { return c_.size(0); }
  int64_t num_products() const { return num_products_; }

 protected:
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override {
    num_products_ += matrix.size(0);
    return matrix.matmul(c_.to(matrix.scalar_type()));
  }

 private:
  at::Tensor c_;
  mutable int64_t num_products_ = 0;
};

struct Solution {
  at::Tensor x;
  std::vector<SolveReport> reports;
};

Solution Solve(const at::Tensor& a, const at::Tensor& b,
               const ConjugateGradientOptions& options) {
  Solution solution;
  const auto cg = ConjugateGradient::Create(
      std::make_shared<const CountingOperator>(a), options);
  EXPECT_THAT(cg, IsOk());
  absl::StatusOr<at::Tensor> x = (*cg)->ApplyWithReports(b, &solution.reports);
  EXPECT_THAT(x, IsOk());
  if (x.ok()) solution.x = *x;
  return solution;
}

// |b_k - A x_k| / |b_k|, computed by the test.
double RelativeResidual(const at::Tensor& a, const at::Tensor& b,
                        const at::Tensor& x, int64_t k) {
  const at::Tensor right = b[k].to(at::kDouble);
  const at::Tensor r = right.sub(a.matmul(x[k].to(at::kDouble)));
  return r.norm().item<double>() / right.norm().item<double>();
}

class ConjugateGradientTest : public testing::TestWithParam<bool> {
 protected:
  ConjugateGradientOptions Options(double tolerance = 1e-10) const {
    ConjugateGradientOptions options;
    options.relative_tolerance = tolerance;
    options.block = GetParam();
    return options;
  }
};

INSTANTIATE_TEST_SUITE_P(, ConjugateGradientTest, testing::Bool(),
                         [](const testing::TestParamInfo<bool>& param) {
                           return param.param ? "Block" : "OneByOne";
                         });

TEST_P(ConjugateGradientTest, KeepsTheOperatorContract) {
  const at::Tensor a = PositiveDefinite(12, 2);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto cg,
      ConjugateGradient::Create(std::make_shared<const CountingOperator>(a),
                                Options(1e-13)));
  OperatorContract contract;
  // The tolerance times the condition number of 100.
  contract.relative_tolerance = 1e-11;
  ExpectOperatorContract(*cg, at::inverse(a), contract);
}

TEST_P(ConjugateGradientTest, EqualsADenseSolve) {
  const at::Tensor a = PositiveDefinite(60, 4);
  const at::Tensor b = SeededNormal({9, 60}, at::kDouble, 2);
  const Solution solution = Solve(a, b, Options(1e-12));
  EXPECT_THAT(solution.x, TensorNear(b.matmul(at::inverse(a)), 1e-8));
  ASSERT_EQ(solution.reports.size(), 9);
  for (int64_t k = 0; k < 9; ++k) {
    EXPECT_EQ(solution.reports[k].outcome, SolveOutcome::kConverged);
    EXPECT_GE(solution.reports[k].iterations, 1);
    // Two reckonings differ by the rounding of A x.
    EXPECT_NEAR(solution.reports[k].relative_residual,
                RelativeResidual(a, b, solution.x, k), 5e-13);
  }
}

TEST_P(ConjugateGradientTest, SmallRightHandSideBesideABigOneIsSolvedAsWell) {
  const at::Tensor a = PositiveDefinite(40, 3);
  const at::Tensor directions = SeededNormal({4, 40}, at::kDouble, 3);
  const at::Tensor sizes = at::tensor({1e6, 1.0, 1e-6, 1e-200}, at::kDouble);
  const at::Tensor b = directions.mul(sizes.unsqueeze(1));
  const Solution solution = Solve(a, b, Options(1e-9));
  for (int64_t k = 0; k < 4; ++k) {
    SCOPED_TRACE(k);
    EXPECT_EQ(solution.reports[k].outcome, SolveOutcome::kConverged);
    const at::Tensor unscaled = solution.x.div(sizes.unsqueeze(1));
    EXPECT_LE(RelativeResidual(a, directions, unscaled, k), 1.01e-9);
  }
}

TEST_P(ConjugateGradientTest, ZeroRightHandSideTakesNoIteration) {
  const at::Tensor a = PositiveDefinite(10, 1);
  at::Tensor b = SeededNormal({3, 10}, at::kDouble, 4);
  b[1].zero_();
  const Solution solution = Solve(a, b, Options());
  EXPECT_TRUE(solution.x[1].equal(at::zeros({10}, at::kDouble)));
  EXPECT_EQ(solution.reports[1].outcome, SolveOutcome::kConverged);
  EXPECT_EQ(solution.reports[1].iterations, 0);
  EXPECT_EQ(solution.reports[1].relative_residual, 0);
  EXPECT_THAT(solution.x, TensorNear(b.matmul(at::inverse(a)), 1e-8));
  const Solution nothing = Solve(a, at::zeros({2, 10}, at::kDouble), Options());
  EXPECT_EQ(nothing.reports.size(), 2);
  EXPECT_TRUE(nothing.x.equal(at::zeros({2, 10}, at::kDouble)));
}

TEST_P(ConjugateGradientTest, DependentRightHandSidesAreAllSolved) {
  const at::Tensor a = PositiveDefinite(30, 3);
  const at::Tensor two = SeededNormal({2, 30}, at::kDouble, 5);
  // A duplicate, a multiple, a combination, and one that nearly depends.
  const at::Tensor b = at::cat(
      {two, two.narrow(0, 0, 1), two.narrow(0, 1, 1).mul(-1e5),
       two.narrow(0, 0, 1).add(two.narrow(0, 1, 1), 3),
       two.narrow(0, 0, 1).add(SeededNormal({1, 30}, at::kDouble, 6), 1e-9)});
  const Solution solution = Solve(a, b, Options(1e-12));
  for (int64_t k = 0; k < b.size(0); ++k) {
    EXPECT_EQ(solution.reports[k].outcome, SolveOutcome::kConverged) << k;
    EXPECT_LE(RelativeResidual(a, b, solution.x, k), 1.01e-12) << k;
  }
}

TEST_P(ConjugateGradientTest, MoreRightHandSidesThanUnknownsAreSolved) {
  const at::Tensor a = PositiveDefinite(6, 2);
  const at::Tensor b = SeededNormal({20, 6}, at::kDouble, 7);
  EXPECT_THAT(Solve(a, b, Options(1e-12)).x,
              TensorNear(b.matmul(at::inverse(a)), 1e-9));
}

TEST_P(ConjugateGradientTest, NegativeCurvatureEndsWithTheLastIterate) {
  // b_0 lies among the positive eigenvalues, b_1 meets the negative one in its
  // second step.
  const at::Tensor a = at::diag(at::tensor({4.0, 1.0, -0.5}, at::kDouble));
  const at::Tensor b =
      at::tensor({4.0, 1.0, 0.0, 1.0, 0.0, 1.0}, at::kDouble).reshape({2, 3});
  const Solution solution = Solve(a, b, Options());
  EXPECT_EQ(solution.reports[0].outcome, SolveOutcome::kConverged);
  EXPECT_THAT(solution.x[0],
              TensorNear(at::tensor({1.0, 1.0, 0.0}, at::kDouble), 1e-10));
  EXPECT_EQ(solution.reports[1].outcome, SolveOutcome::kNegativeCurvature);
  // The first step: b^T b / b^T A b = 2 / 3.5.
  EXPECT_EQ(solution.reports[1].iterations, 1);
  EXPECT_THAT(solution.x[1], TensorNear(b[1].mul(2 / 3.5), 1e-12));
  EXPECT_NEAR(solution.reports[1].relative_residual,
              RelativeResidual(a, b, solution.x, 1), 1e-14);
}

TEST_P(ConjugateGradientTest, NegativeCurvatureAtOnceIsNoAnswer) {
  const at::Tensor a = at::diag(at::tensor({1.0, -2.0}, at::kDouble));
  const at::Tensor b = at::tensor({1.0, 1.0}, at::kDouble).reshape({1, 2});
  const Solution solution = Solve(a, b, Options());
  EXPECT_EQ(solution.reports[0].outcome, SolveOutcome::kNegativeCurvature);
  EXPECT_EQ(solution.reports[0].iterations, 0);
  EXPECT_DOUBLE_EQ(solution.reports[0].relative_residual, 1);
  // There is no iterate but the zeros it started from.
  EXPECT_FALSE(solution.reports[0].has_answer());
  EXPECT_TRUE(solution.x.isnan().all().item<bool>());
}

// The zero block of a unit that nothing uses.
TEST_P(ConjugateGradientTest, ZeroBlockIsSolvedAroundOrReported) {
  at::Tensor a = at::zeros({8, 8}, at::kDouble);
  a.narrow(0, 0, 5).narrow(1, 0, 5).copy_(PositiveDefinite(5, 1));
  at::Tensor b = SeededNormal({2, 8}, at::kDouble, 8);
  b[0].narrow(0, 5, 3).zero_();
  const Solution solution = Solve(a, b, Options());
  EXPECT_EQ(solution.reports[0].outcome, SolveOutcome::kConverged);
  EXPECT_LE(RelativeResidual(a, b, solution.x, 0), 1e-10);
  // Never Inf or NaN where there is no solution.
  EXPECT_EQ(solution.reports[1].outcome, SolveOutcome::kNegativeCurvature);
  EXPECT_TRUE(solution.x.isfinite().all().item<bool>());
  EXPECT_LT(solution.x.abs().max().item<double>(), 1e6);
}

TEST_P(ConjugateGradientTest, Float32EndsHonestlyAtWhatItCanReach) {
  const at::Tensor a = PositiveDefinite(20, 3);
  const at::Tensor b = SeededNormal({5, 20}, at::kFloat, 9);
  ConjugateGradientOptions options = Options(1e-3);
  Solution solution = Solve(a, b, options);
  EXPECT_EQ(solution.x.scalar_type(), at::kFloat);
  for (int64_t k = 0; k < 5; ++k) {
    EXPECT_EQ(solution.reports[k].outcome, SolveOutcome::kConverged);
    EXPECT_LE(RelativeResidual(a, b, solution.x, k), 2e-3);
  }
  options.relative_tolerance = 1e-12;
  solution = Solve(a, b, options);
  for (const SolveReport& report : solution.reports) {
    EXPECT_EQ(report.outcome, SolveOutcome::kStagnated);
    EXPECT_LT(report.iterations, 1000);
    EXPECT_LT(report.relative_residual, 1e-2);
    EXPECT_GT(report.relative_residual, 1e-12);
  }
  // Iterates in float64 reach it.
  options.dtype = at::kDouble;
  solution = Solve(a, b, options);
  EXPECT_EQ(solution.x.scalar_type(), at::kFloat);
  for (const SolveReport& report : solution.reports) {
    EXPECT_EQ(report.outcome, SolveOutcome::kConverged);
  }
}

TEST_P(ConjugateGradientTest, AnIterationLimitIsAnOutcome) {
  const at::Tensor a = PositiveDefinite(60, 6);
  const at::Tensor b = SeededNormal({2, 60}, at::kDouble, 10);
  ConjugateGradientOptions options = Options();
  options.max_iterations = 3;
  const Solution solution = Solve(a, b, options);
  for (int64_t k = 0; k < 2; ++k) {
    EXPECT_EQ(solution.reports[k].outcome, SolveOutcome::kIterationLimit);
    EXPECT_EQ(solution.reports[k].iterations, 3);
    EXPECT_NEAR(solution.reports[k].relative_residual,
                RelativeResidual(a, b, solution.x, k), 1e-13);
    EXPECT_GT(solution.reports[k].relative_residual, 1e-10);
  }
}

TEST_P(ConjugateGradientTest, APreconditionerSavesIterations) {
  const at::Tensor scales = at::logspace(0, -3, 30, 10, at::kDouble);
  // Well-conditioned but for its scaling.
  const at::Tensor a = at::diag(scales)
                           .matmul(PositiveDefinite(30, 0.5))
                           .matmul(at::diag(scales));
  const at::Tensor b = SeededNormal({3, 30}, at::kDouble, 11);
  ConjugateGradientOptions options = Options(1e-6);
  const Solution plain = Solve(a, b, options);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      options.preconditioner,
      DenseOperator::Create(at::diag(a.diagonal().reciprocal())));
  const Solution solution = Solve(a, b, options);
  for (int64_t k = 0; k < 3; ++k) {
    EXPECT_EQ(solution.reports[k].outcome, SolveOutcome::kConverged);
    EXPECT_LE(RelativeResidual(a, b, solution.x, k), 1.01e-6);
    EXPECT_LT(solution.reports[k].iterations, plain.reports[k].iterations);
  }
}

TEST_P(ConjugateGradientTest, RefusesAPreconditionerThatIsNotPositive) {
  const at::Tensor a = PositiveDefinite(4, 1);
  ConjugateGradientOptions options = Options();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      options.preconditioner,
      DenseOperator::Create(at::eye(4, at::kDouble).neg()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto cg, ConjugateGradient::Create(
                   std::make_shared<const CountingOperator>(a), options));
  EXPECT_THAT(cg->Apply(SeededNormal({2, 4}, at::kDouble, 1)),
              StatusIs(kInvalid, AllOf(HasSubstr("preconditioner"),
                                       HasSubstr("positive definite"))));
}

TEST_P(ConjugateGradientTest, SolvedRightHandSidesCostNoMoreProducts) {
  // b_0 is an eigenvector: one product, and one to recompute its residual.
  const at::Tensor a =
      at::diag(at::logspace(0, -3, 40, 10, at::kDouble)).contiguous();
  at::Tensor b = at::zeros({2, 40}, at::kDouble);
  b[0][0] = 1;
  b[1].narrow(0, 1, 39).copy_(SeededNormal({39}, at::kDouble, 12));
  const auto counting = std::make_shared<const CountingOperator>(a);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto cg, ConjugateGradient::Create(counting, Options(1e-6)));
  std::vector<SolveReport> reports;
  INFLUENCE_ASSERT_OK(cg->ApplyWithReports(b, &reports));
  EXPECT_EQ(reports[0].iterations, 1);
  EXPECT_EQ(counting->num_products(), 2 + reports[1].iterations + 1);
}

TEST(ConjugateGradientBlockTest, OneBlockTakesFewerIterationsThanOneByOne) {
  const at::Tensor a = PositiveDefinite(80, 4);
  const at::Tensor b = SeededNormal({20, 80}, at::kDouble, 13);
  ConjugateGradientOptions options;
  options.relative_tolerance = 1e-8;
  const Solution block = Solve(a, b, options);
  options.block = false;
  const Solution separate = Solve(a, b, options);
  EXPECT_THAT(block.x, TensorNear(separate.x, 1e-4));
  // 80 unknowns in spaces that grow by 20 dimensions a step.
  for (int64_t k = 0; k < 20; ++k) {
    EXPECT_LE(block.reports[k].iterations, 5);
    EXPECT_GT(separate.reports[k].iterations, 10);
  }
}

TEST(ConjugateGradientOneByOneTest, NeighboursDoNotMatter) {
  const at::Tensor a = PositiveDefinite(40, 3);
  const at::Tensor b = SeededNormal({6, 40}, at::kDouble, 14);
  ConjugateGradientOptions options;
  options.block = false;
  options.relative_tolerance = 1e-6;
  const Solution together = Solve(a, b, options);
  const Solution alone = Solve(a, b.narrow(0, 4, 1), options);
  EXPECT_EQ(together.reports[4].iterations, alone.reports[0].iterations);
  EXPECT_THAT(together.x.narrow(0, 4, 1), TensorNear(alone.x, 1e-11));
}

TEST(ConjugateGradientCreateTest, RefusesBadArguments) {
  const auto a =
      std::make_shared<const CountingOperator>(PositiveDefinite(4, 1));
  EXPECT_THAT(ConjugateGradient::Create(nullptr),
              StatusIs(kInvalid, HasSubstr("operator")));
  ConjugateGradientOptions options;
  for (const double bad :
       {0.0, -1.0, std::numeric_limits<double>::quiet_NaN()}) {
    options.relative_tolerance = bad;
    EXPECT_THAT(ConjugateGradient::Create(a, options),
                StatusIs(kInvalid, HasSubstr("relative_tolerance")));
  }
  options = {};
  options.max_iterations = 0;
  EXPECT_THAT(ConjugateGradient::Create(a, options),
              StatusIs(kInvalid, HasSubstr("max_iterations: found 0")));
  options = {};
  options.dtype = at::kLong;
  EXPECT_THAT(ConjugateGradient::Create(a, options),
              StatusIs(kInvalid, HasSubstr("dtype: found int64")));
  options = {};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(options.preconditioner,
                                 DenseOperator::Create(PositiveDefinite(3, 1)));
  EXPECT_THAT(ConjugateGradient::Create(a, options),
              StatusIs(kInvalid, AllOf(HasSubstr("preconditioner"),
                                       HasSubstr("3"), HasSubstr("4"))));
}

TEST(ConjugateGradientCreateTest, NamesValuesThatAreNotFinite) {
  const auto a =
      std::make_shared<const CountingOperator>(PositiveDefinite(3, 1));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto cg, ConjugateGradient::Create(a));
  at::Tensor b = SeededNormal({2, 3}, at::kDouble, 1);
  b[1][2] = std::numeric_limits<double>::infinity();
  EXPECT_THAT(cg->Apply(b), StatusIs(kInvalid, HasSubstr("operand")));
  const auto overflowing = std::make_shared<const CountingOperator>(
      at::eye(3, at::kDouble).mul(1e308).mul(10));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(cg, ConjugateGradient::Create(overflowing));
  EXPECT_THAT(cg->Apply(b.narrow(0, 0, 1)),
              StatusIs(kInvalid, HasSubstr("product with the operator")));
}

}  // namespace
}  // namespace influence
