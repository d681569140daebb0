// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/lissa.h"

#include <limits>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/diag.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/inverse.h"
#include "ATen/ops/linalg_eigvalsh.h"
#include "ATen/ops/linalg_qr.h"
#include "ATen/ops/logspace.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "operators/dense_operator.h"
#include "operators/operator_testing.h"
#include "operators/problem_testing.h"
#include "operators/solve_report.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// Positive definite with eigenvalues from 1 down to 10^-decades.
at::Tensor PositiveDefinite(int64_t size, double decades, uint64_t seed = 1) {
  const at::Tensor q =
      std::get<0>(at::linalg_qr(SeededNormal({size, size}, at::kDouble, seed)));
  const at::Tensor c =
      q.matmul(at::diag(at::logspace(0, -decades, size, 10, at::kDouble)))
          .matmul(q.t());
  return c.add(c.t()).div(2);
}

std::vector<LissaBatch> Batches(const std::vector<at::Tensor>& matrices) {
  std::vector<LissaBatch> batches;
  for (const at::Tensor& matrix : matrices) {
    batches.push_back({*DenseOperator::Create(matrix),
                       static_cast<int64_t>(batches.size()) + 1});
  }
  return batches;
}

struct Solution {
  at::Tensor x;
  std::vector<SolveReport> reports;
};

Solution Solve(const Lissa& lissa, const at::Tensor& b) {
  Solution solution;
  absl::StatusOr<at::Tensor> x = lissa.ApplyWithReports(b, &solution.reports);
  EXPECT_THAT(x, IsOk());
  if (x.ok()) solution.x = *x;
  return solution;
}

TEST(LissaTest, KeepsTheOperatorContract) {
  const at::Tensor a = PositiveDefinite(6, 1);
  LissaOptions options;
  options.relative_tolerance = 1e-13;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto lissa,
                                 Lissa::Create(Batches({a}), options));
  OperatorContract contract;
  contract.relative_tolerance = 1e-11;  // Tolerance, condition number 10.
  ExpectOperatorContract(*lissa, at::inverse(a), contract);
}

TEST(LissaTest, OneBatchOfEverythingReachesItsFixedPoint) {
  const at::Tensor a = PositiveDefinite(8, 1.5);
  const at::Tensor b = SeededNormal({3, 8}, at::kDouble, 2);
  LissaOptions options;
  options.relative_tolerance = 1e-12;
  options.max_iterations = 10'000;
  options.scale = 1.7;
  for (const double dampen : {0.0, 0.05}) {
    options.dampen = dampen;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(auto lissa,
                                   Lissa::Create(Batches({a}), options));
    EXPECT_EQ(lissa->scale(), 1.7);
    const Solution solution = Solve(*lissa, b);
    const at::Tensor damped = a.add(at::eye(8, at::kDouble), 1.7 * dampen);
    EXPECT_THAT(solution.x, TensorNear(b.matmul(at::inverse(damped)), 1e-9));
    for (const SolveReport& report : solution.reports) {
      EXPECT_EQ(report.outcome, SolveOutcome::kConverged);
      EXPECT_LE(report.relative_residual, 1e-12);
      EXPECT_THAT(report.remark, IsEmpty());
    }
  }
}

TEST(LissaTest, TakesTheStepsOfItsDefinition) {
  const at::Tensor a = PositiveDefinite(5, 1);
  const at::Tensor b = SeededNormal({2, 5}, at::kDouble, 3);
  LissaOptions options;
  options.max_iterations = 2;
  options.scale = 2;
  options.dampen = 0.25;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto lissa,
                                 Lissa::Create(Batches({a}), options));
  at::Tensor x = b;
  for (int t = 0; t < 2; ++t) x = b.add(x, 0.75).sub(x.matmul(a), 0.5);
  const Solution solution = Solve(*lissa, b);
  EXPECT_THAT(solution.x, TensorNear(x.div(2), 1e-14));
  const at::Tensor residual = b.sub(solution.x.matmul(a)).sub(solution.x, 0.5);
  for (int64_t k = 0; k < 2; ++k) {
    EXPECT_EQ(solution.reports[k].outcome, SolveOutcome::kIterationLimit);
    EXPECT_EQ(solution.reports[k].iterations, 2);
    EXPECT_NEAR(solution.reports[k].relative_residual,
                residual[k].norm().item<double>() / b[k].norm().item<double>(),
                1e-14);
  }
}

TEST(LissaTest, EveryEpochMeetsEveryBatchOnceInASeededOrder) {
  // Diagonal matrices commute: the order shows in the sums alone.
  const std::vector<at::Tensor> matrices = {
      at::diag(at::tensor({0.5, 0.1}, at::kDouble)),
      at::diag(at::tensor({0.2, 0.9}, at::kDouble)),
      at::diag(at::tensor({0.7, 0.3}, at::kDouble))};
  const at::Tensor b = at::tensor({1.0, 2.0}, at::kDouble);
  const auto run = [&](uint64_t seed) {
    LissaOptions options;
    options.scale = 1;
    options.max_iterations = 3;
    options.seed = seed;
    return *(*Lissa::Create(Batches(matrices), options))->Apply(b);
  };
  // Results of the six orders of one epoch.
  std::vector<at::Tensor> possible;
  for (const auto& [i, j, k] : std::vector<std::tuple<int, int, int>>{
           {0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}) {
    at::Tensor x = b;
    for (const int t : {i, j, k}) x = b.add(x).sub(x.matmul(matrices[t]));
    possible.push_back(x);
  }
  std::vector<bool> seen(6, false);
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const at::Tensor x = run(seed);
    EXPECT_TRUE(x.equal(run(seed)));
    bool found = false;
    for (size_t order = 0; order < 6; ++order) {
      if (!x.allclose(possible[order], 1e-12)) continue;
      seen[order] = true;
      found = true;
    }
    EXPECT_TRUE(found) << "seed " << seed;
  }
  // Each has a chance of (5/6)^40 < 0.001 to be missed; the seeds are fixed.
  EXPECT_THAT(seen, testing::Each(true));
}

TEST(LissaTest, DefaultScaleIsATenthAboveTheLargestEigenvalue) {
  const at::Tensor small = PositiveDefinite(6, 1, 4);
  const at::Tensor large = PositiveDefinite(6, 1, 5).mul(3);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto lissa,
                                 Lissa::Create(Batches({small, large, small})));
  // Power iteration comes from below.
  EXPECT_GT(lissa->scale(), 3 * 1.1 * 0.95);
  EXPECT_LE(lissa->scale(), 3 * 1.1 * (1 + 1e-12));
  // Of magnitude, in an indefinite one.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      lissa, Lissa::Create(Batches({PositiveDefinite(6, 1).mul(-2)})));
  EXPECT_GT(lissa->scale(), 2 * 1.1 * 0.95);
}

TEST(LissaTest, TooSmallAScaleIsDoubledOnceAndSaidAloud) {
  const at::Tensor a = PositiveDefinite(5, 1);
  const at::Tensor b = SeededNormal({2, 5}, at::kDouble, 6);
  LissaOptions options;
  options.relative_tolerance = 1e-10;
  options.scale = 0.4;  // 1 - 1 / 0.4 < -1, and 0.8 will do.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto lissa,
                                 Lissa::Create(Batches({a}), options));
  Solution solution = Solve(*lissa, b);
  EXPECT_THAT(solution.x, TensorNear(b.matmul(at::inverse(a)), 1e-8));
  for (const SolveReport& report : solution.reports) {
    EXPECT_EQ(report.outcome, SolveOutcome::kConverged);
    EXPECT_THAT(report.remark,
                AllOf(HasSubstr("diverged with scale 0.4"), HasSubstr("0.8")));
  }
}

TEST(LissaTest, FarTooSmallAScaleIsDivergenceWithoutAnAnswer) {
  const at::Tensor a = PositiveDefinite(5, 1);
  at::Tensor b = SeededNormal({3, 5}, at::kDouble, 7);
  b[1].zero_();
  LissaOptions options;
  for (const double scale : {0.1, 1e-200}) {
    options.scale = scale;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(auto lissa,
                                   Lissa::Create(Batches({a}), options));
    const Solution solution = Solve(*lissa, b);
    // Not zero, which would be an answer; b_1 = 0 has that one.
    EXPECT_TRUE(solution.x[0].isnan().all().item<bool>());
    EXPECT_TRUE(solution.x[1].equal(at::zeros({5}, at::kDouble)));
    EXPECT_TRUE(solution.x[2].isnan().all().item<bool>());
    EXPECT_THAT(RowsWithoutAnswer(solution.reports),
                testing::ElementsAre(0, 2));
    EXPECT_EQ(solution.reports[0].outcome, SolveOutcome::kDiverged);
    EXPECT_EQ(solution.reports[0].relative_residual, 1);
    EXPECT_THAT(solution.reports[0].remark, HasSubstr("diverged too"));
    EXPECT_LT(solution.reports[0].iterations, 500);
    EXPECT_EQ(solution.reports[1].outcome, SolveOutcome::kConverged);
    EXPECT_EQ(solution.reports[1].iterations, 0);
  }
}

TEST(LissaTest, IndefiniteMatrixDivergesAndSaysSo) {
  const at::Tensor a = at::diag(at::tensor({1.0, -0.5}, at::kDouble));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto lissa, Lissa::Create(Batches({a})));
  const Solution solution =
      Solve(*lissa, at::tensor({1.0, 1.0}, at::kDouble).unsqueeze(0));
  EXPECT_EQ(solution.reports[0].outcome, SolveOutcome::kDiverged);
  EXPECT_TRUE(solution.x.isnan().all().item<bool>());
}

TEST(LissaTest, RightHandSidesOfAnySizeConvergeRelativeToThemselves) {
  const at::Tensor a = PositiveDefinite(6, 1);
  const at::Tensor directions = SeededNormal({3, 6}, at::kDouble, 8);
  const at::Tensor sizes = at::tensor({1e6, 1.0, 1e-200}, at::kDouble);
  LissaOptions options;
  options.relative_tolerance = 1e-9;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto lissa,
                                 Lissa::Create(Batches({a}), options));
  const Solution solution = Solve(*lissa, directions.mul(sizes.unsqueeze(1)));
  const at::Tensor expected = directions.matmul(at::inverse(a));
  for (int64_t k = 0; k < 3; ++k) {
    EXPECT_THAT(solution.x[k].div(sizes[k]), TensorNear(expected[k], 1e-7));
    EXPECT_EQ(solution.reports[k].outcome, SolveOutcome::kConverged);
  }
}

TEST(LissaTest, NoiseOfTheBatchesIsReportedByTheWholeResidual) {
  const at::Tensor first = PositiveDefinite(5, 0.5, 9);
  const at::Tensor second = PositiveDefinite(5, 0.5, 10);
  // Weighted by 1 and 2 samples.
  const at::Tensor a = first.add(second, 2).div(3);
  const at::Tensor b = SeededNormal({1, 5}, at::kDouble, 11);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto lissa,
                                 Lissa::Create(Batches({first, second})));
  const Solution solution = Solve(*lissa, b);
  const double residual = b.sub(solution.x.matmul(a)).norm().item<double>() /
                          b.norm().item<double>();
  EXPECT_NE(solution.reports[0].outcome, SolveOutcome::kConverged);
  EXPECT_NEAR(solution.reports[0].relative_residual, residual, 1e-12);
  EXPECT_GT(residual, 1e-4);
  EXPECT_LT(residual, 0.5);
}

TEST(LissaTest, RefusesBadArguments) {
  const at::Tensor a = PositiveDefinite(3, 1);
  EXPECT_THAT(Lissa::Create({}), StatusIs(kInvalid, HasSubstr("batches")));
  EXPECT_THAT(Lissa::Create({{nullptr, 1}}),
              StatusIs(kInvalid, HasSubstr("null")));
  EXPECT_THAT(Lissa::Create(Batches({a, PositiveDefinite(4, 1)})),
              StatusIs(kInvalid, AllOf(HasSubstr("4"), HasSubstr("3"))));
  EXPECT_THAT(Lissa::Create({{*DenseOperator::Create(a), 0}}),
              StatusIs(kInvalid, HasSubstr("0 samples")));
  EXPECT_THAT(Lissa::Create(Batches({at::zeros({3, 3}, at::kDouble)})),
              StatusIs(kInvalid, HasSubstr("scale")));
  LissaOptions options;
  options.scale = 0;
  EXPECT_THAT(Lissa::Create(Batches({a}), options),
              StatusIs(kInvalid, HasSubstr("scale: found 0")));
  options = {};
  options.dampen = 1;
  EXPECT_THAT(Lissa::Create(Batches({a}), options),
              StatusIs(kInvalid, HasSubstr("dampen: found 1")));
  options = {};
  options.max_iterations = 0;
  EXPECT_THAT(Lissa::Create(Batches({a}), options),
              StatusIs(kInvalid, HasSubstr("max_iterations: found 0")));
  options = {};
  options.relative_tolerance = -1;
  EXPECT_THAT(Lissa::Create(Batches({a}), options),
              StatusIs(kInvalid, HasSubstr("relative_tolerance")));
  options = {};
  options.dtype = at::kInt;
  EXPECT_THAT(Lissa::Create(Batches({a}), options),
              StatusIs(kInvalid, HasSubstr("dtype: found int32")));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto lissa, Lissa::Create(Batches({a})));
  at::Tensor b = at::zeros({3}, at::kDouble);
  b[1] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(lissa->Apply(b), StatusIs(kInvalid, HasSubstr("operand")));
}

}  // namespace
}  // namespace influence
