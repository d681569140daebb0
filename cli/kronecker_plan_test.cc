// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/kronecker_plan.h"

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/batch_probe.h"
#include "cli/run_plan.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "operators/kronecker_costs.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kMiB = int64_t{1} << 20;

// Linear(3000, 4) and `num_samples` samples, by one thread.
KroneckerFitPlan BagOfWords(int64_t num_samples) {
  KroneckerLayerSize layer;
  layer.name = "fc";
  layer.inputs = 3001;
  layer.outputs = 4;
  layer.positions = 1;
  KroneckerCostOptions options;
  options.num_samples = num_samples;
  KroneckerFitPlan plan;
  plan.costs = EstimateKroneckerCosts({layer}, options);
  plan.rates = {1e10, 1e10};
  return plan;
}

PlanProblem Problem(int64_t num_samples) {
  PlanProblem problem;
  problem.sizes = {.num_parameters = 12004,
                   .item_size = 4,
                   .num_train = num_samples,
                   .num_queries = 1,
                   .values_per_input = 3000,
                   .values_per_score = 1};
  problem.has_scores = false;
  problem.writes_gradients = false;
  problem.fit_passes = 2;
  return problem;
}

BatchProbe Probe() {
  BatchProbe probe;
  probe.num_samples = 64;
  probe.baseline_bytes = 200 * kMiB;
  probe.bytes = 64 * 30000;
  probe.factor_bytes_per_sample = 12000;
  probe.seconds_per_gradient = 1e-5;
  return probe;
}

TEST(KroneckerPlanTest, TheSquaresOfAWideLayerAreInThePlan) {
  PlanProblem problem = Problem(10000);
  AddKroneckerFit(BagOfWords(10000), problem);
  const int64_t square = int64_t{8} * 3001 * 3001;  // 69 MiB.
  EXPECT_GT(problem.fitted_bytes, square);
  EXPECT_LT(problem.fitted_bytes, 1.01 * square);
  // With the copy in float32.
  EXPECT_NEAR(problem.method_bytes, 1.5 * square, 0.01 * square);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan plan,
                                 MakePlan(problem, Probe()));
  // The matrix, its eigenvectors and LAPACK's twice as much.
  EXPECT_NEAR(plan.peak_memory_bytes, 200 * kMiB + 4 * square, 0.01 * square);
  EXPECT_GT(plan.estimated_seconds, 9.0 * 3001 * 3001 * 3001 / 1e10);
  EXPECT_EQ(LargestDecompositionText(problem),
            "; the largest eigendecomposition: 3001 rows (fc)");

  // Few samples: their rows.
  PlanProblem few = Problem(64);
  AddKroneckerFit(BagOfWords(64), few);
  EXPECT_LT(few.method_bytes, 5 * kMiB);
  EXPECT_EQ(LargestDecompositionText(few), "");
}

TEST(KroneckerPlanTest, ALimitThatALayerBreaksNamesIt) {
  PlanProblem problem = Problem(10000);
  AddKroneckerFit(BagOfWords(10000), problem);
  problem.memory_limit = 300 * kMiB;
  EXPECT_THAT(
      MakePlan(problem, Probe()),
      StatusIs(absl::StatusCode::kResourceExhausted,
               AllOf(HasSubstr("--memory-limit: found 300 MiB, expected 475"),
                     HasSubstr("for fc with 3001 rows"),
                     HasSubstr("--max-factor-size 3000 or less"))));
  problem.memory_limit = 490 * kMiB;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan plan,
                                 MakePlan(problem, Probe()));
  EXPECT_LE(plan.peak_memory_bytes, 490 * kMiB);
}

TEST(KroneckerPlanTest, WorkersCountWhereThereAreBatchesForThem) {
  KroneckerFitPlan fit = BagOfWords(10000);
  fit.num_threads = 2;
  PlanProblem problem = Problem(10000);
  AddKroneckerFit(fit, problem);
  EXPECT_EQ(problem.fit_workers, 2);
  EXPECT_EQ(problem.fit_worker_bytes, fit.costs.covariances);
  fit.memory_limit = 100 * kMiB;
  problem = Problem(10000);
  AddKroneckerFit(fit, problem);
  EXPECT_EQ(problem.fit_workers, 1);
}

TEST(KroneckerPlanTest, RatesAreThoseOfAMachine) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const MachineRates rates = MeasureRates(dtype);
    EXPECT_GT(rates.products, 1e8);
    EXPECT_LT(rates.products, 1e14);
    EXPECT_GT(rates.decompositions, 1e7);
    EXPECT_LT(rates.decompositions, 1e13);
  }
}

}  // namespace
}  // namespace influence
