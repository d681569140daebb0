// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/run_plan.h"

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/batch_probe.h"
#include "cli/batch_sizes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Queries = PlanProblem::Queries;

constexpr int64_t kMillion = 1000000;
constexpr int64_t kMiB = int64_t{1} << 20;

PlanProblem Problem() {
  PlanProblem problem;
  problem.sizes = {.num_parameters = kMillion,
                   .item_size = 4,
                   .num_train = 100000,
                   .num_queries = 300,
                   .values_per_input = 784,
                   .values_per_score = 1};
  return problem;
}

// A batch of 64 that needs `bytes_per_sample`.
BatchProbe Probe(int64_t bytes_per_sample) {
  BatchProbe probe;
  probe.num_samples = 64;
  probe.baseline_bytes = 200 * kMiB;
  probe.bytes = 64 * (bytes_per_sample - 1);
  probe.factor_bytes_per_sample = 4000;
  probe.seconds_per_gradient = 1e-4;
  probe.seconds_per_score = 1e-7;
  return probe;
}

TEST(RunPlanTest, BatchesOfQueriesShareAPassWhereFactorsAreKept) {
  // 67 gradients of 4 MB are 256 MiB, 134 factors 512 MiB.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan shared,
                                 MakePlan(Problem(), Probe(8000)));
  EXPECT_EQ(shared.batch_size, 67);
  EXPECT_EQ(shared.query_batch_size, 67);
  EXPECT_EQ(shared.queries_per_pass, 134);
  EXPECT_EQ(shared.passes, 3);
}

TEST(RunPlanTest, FactorsOfGradientsAllowLargerBatches) {
  PlanProblem problem = Problem();
  problem.writes_gradients = false;
  problem.queries = Queries::kRotated;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan plan,
                                 MakePlan(problem, Probe(8000)));
  EXPECT_EQ(plan.batch_size, 1024);
  // As many as are kept, all at a time.
  EXPECT_EQ(plan.query_batch_size, 134);
  EXPECT_EQ(plan.queries_per_pass, 134);
}

TEST(RunPlanTest, FactorsLargerThanTheGradientGiveWayToRows) {
  PlanProblem problem = Problem();
  problem.writes_gradients = false;
  problem.queries = Queries::kRotated;
  problem.workers = 2;
  problem.sizes.num_queries = 100;
  BatchProbe probe = Probe(10 * kMiB);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan rotated,
                                 MakePlan(problem, probe));
  EXPECT_EQ(rotated.keeps_factors, 0);
  EXPECT_EQ(rotated.queries_per_pass, rotated.query_batch_size);
  EXPECT_EQ(rotated.passes, 7);
  // Two groups of 16 gradients of 4 MB; two batches of 16.
  EXPECT_EQ(rotated.peak_memory_bytes,
            200 * kMiB + 2 * 16 * 4 * kMillion +
                2 * (160 * kMiB + 2 * 16 * 16 * 4 + 96 * kMiB));

  probe.factor_bytes_per_sample = 5 * kMillion;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan rows, MakePlan(problem, probe));
  EXPECT_EQ(rows.keeps_factors, 1);
  EXPECT_EQ(rows.query_batch_size, 16);
  EXPECT_EQ(rows.passes, 1);

  problem.may_keep_factors = false;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan refused,
                                 MakePlan(problem, probe));
  EXPECT_EQ(refused.keeps_factors, 0);
}

TEST(RunPlanTest, WorkersOfAFitHaveBatchesOfTheirOwn) {
  PlanProblem problem = Problem();
  problem.has_scores = false;
  problem.writes_gradients = false;
  problem.fit_passes = 2;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan alone,
                                 MakePlan(problem, Probe(8000)));
  EXPECT_EQ(alone.fit_batch_size, 1024);
  problem.fit_workers = 3;
  problem.fit_worker_bytes = 50 * kMiB;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan several,
                                 MakePlan(problem, Probe(8000)));
  EXPECT_EQ(several.fit_batch_size, 1024);
  EXPECT_EQ(several.peak_memory_bytes, alone.peak_memory_bytes + 50 * kMiB +
                                           2 * (16 * kMiB + 1024 * 8000));
  // Four batches for each, but none of less than 64 samples.
  problem.sizes.num_train = 5000;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan fewer,
                                 MakePlan(problem, Probe(8000)));
  EXPECT_EQ(fewer.fit_batch_size, 256);
  problem.sizes.num_train = 500;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan few,
                                 MakePlan(problem, Probe(8000)));
  EXPECT_EQ(few.fit_batch_size, 64);
  problem.batch_size = 100;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan asked,
                                 MakePlan(problem, Probe(8000)));
  EXPECT_EQ(asked.fit_batch_size, 100);
}

// One batch is not shared out, and needs no statistics of a second worker.
TEST(RunPlanTest, WorkersWithoutBatchesNeedNothing) {
  PlanProblem problem = Problem();
  problem.has_scores = false;
  problem.writes_gradients = false;
  problem.fit_passes = 2;
  problem.sizes.num_train = 64;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan alone,
                                 MakePlan(problem, Probe(8000)));
  problem.fit_workers = 2;
  problem.fit_worker_bytes = 50 * kMiB;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan several,
                                 MakePlan(problem, Probe(8000)));
  EXPECT_EQ(several.peak_memory_bytes, alone.peak_memory_bytes);
}

// Statistics while the data are read, workspace while they are not.
TEST(RunPlanTest, MatricesOfTheFitCountWhereTheyAreHeld) {
  PlanProblem problem = Problem();
  problem.has_scores = false;
  problem.batch_size = 32;
  problem.fit_passes = 2;
  problem.kept_factor_bytes = 10 * kMiB;
  problem.fit_pass_bytes = 5 * kMiB;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan passes,
                                 MakePlan(problem, Probe(kMiB)));
  EXPECT_EQ(passes.peak_memory_bytes, (200 + 10 + 5 + 16 + 32) * kMiB);
  problem.fit_solve_bytes = 400 * kMiB;
  problem.fit_seconds = 77;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan solves,
                                 MakePlan(problem, Probe(kMiB)));
  EXPECT_EQ(solves.peak_memory_bytes, (200 + 10 + 400) * kMiB);
  EXPECT_NEAR(solves.estimated_seconds, passes.estimated_seconds + 77, 1e-9);
}

TEST(RunPlanTest, ABatchThatNeedsMuchIsMadeSmaller) {
  PlanProblem problem = Problem();
  problem.writes_gradients = false;
  problem.queries = Queries::kGradients;
  // 256 MiB are 25 samples of 10 MiB; a power of two, whatever the noise.
  for (const int64_t bytes : {10 * kMiB, 10 * kMiB + 70000}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan plan,
                                   MakePlan(problem, Probe(bytes)));
    EXPECT_EQ(plan.batch_size, 16);
  }
  // But not where it was asked for.
  problem.batch_size = 40;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan plan,
                                 MakePlan(problem, Probe(10 * kMiB)));
  EXPECT_EQ(plan.batch_size, 40);
}

TEST(RunPlanTest, ThePeakIsTheSumOfWhatIsHeldAtATime) {
  PlanProblem problem = Problem();
  problem.sizes.num_queries = 10;
  problem.batch_size = 32;
  problem.method_bytes = 7 * kMiB;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan plan,
                                 MakePlan(problem, Probe(kMiB)));
  // Baseline, method, ten factors of 4 MB; then a batch, two tiles and scratch,
  // which is more than ten queries being prepared.
  EXPECT_EQ(plan.peak_memory_bytes, (200 + 7) * kMiB + 10 * 4 * kMillion +
                                        32 * kMiB + 2 * 10 * 32 * 4 +
                                        96 * kMiB);
  // The fit does not come on top, but may need more.
  problem.fit_passes = 2;
  problem.kept_factor_bytes = 300 * kMiB;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan fit,
                                 MakePlan(problem, Probe(kMiB)));
  EXPECT_EQ(fit.peak_memory_bytes,
            (200 + 7) * kMiB + 16 * kMiB + 32 * kMiB + 300 * kMiB);
}

// Of the samples of one rank, and only where they are within the limit.
TEST(RunPlanTest, WhatProductsKeepComesOnTop) {
  PlanProblem problem = Problem();
  BatchProbe probe = Probe(kMiB);
  probe.factor_bytes_per_sample = 1000;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan without,
                                 MakePlan(problem, probe));
  problem.product_factors = 8;
  problem.num_ranks = 4;
  const int64_t kept = (problem.sizes.num_train / 4 + 1) * 8 * 1000;
  problem.most_product_bytes = kept;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan with, MakePlan(problem, probe));
  EXPECT_EQ(with.peak_memory_bytes, without.peak_memory_bytes + kept);
  problem.most_product_bytes = kept - 1;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan beyond,
                                 MakePlan(problem, probe));
  EXPECT_EQ(beyond.peak_memory_bytes, without.peak_memory_bytes);
}

TEST(RunPlanTest, AMemoryLimitMakesBatchesAndPassesSmaller) {
  PlanProblem problem = Problem();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan free,
                                 MakePlan(problem, Probe(kMiB)));
  for (const int64_t limit : {900 * kMiB, 500 * kMiB, 320 * kMiB}) {
    problem.memory_limit = limit;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan plan,
                                   MakePlan(problem, Probe(kMiB)));
    EXPECT_LE(plan.peak_memory_bytes, limit);
    EXPECT_GT(plan.passes, free.passes);
  }
}

TEST(RunPlanTest, WhatDoesNotFitSaysWhichOptionToChange) {
  PlanProblem problem = Problem();
  problem.memory_limit = 250 * kMiB;
  EXPECT_THAT(MakePlan(problem, Probe(kMiB)),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("--memory-limit: found 250 MiB"),
                             HasSubstr("for model, data and a single"))));
  problem.memory_limit = 500 * kMiB;
  problem.batch_size = 1000;
  EXPECT_THAT(MakePlan(problem, Probe(kMiB)),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("or more with --batch-size 1000")));
  problem.batch_size.reset();
  problem.method_bytes = 5000 * kMiB;
  EXPECT_THAT(MakePlan(problem, Probe(kMiB)),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("4.88 GiB for what the method keeps")));
}

TEST(RunPlanTest, TimeFollowsTheMeasuredRates) {
  PlanProblem problem = Problem();
  problem.sizes.num_parameters = 1000;
  problem.fit_passes = 2;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan plan,
                                 MakePlan(problem, Probe(8000)));
  EXPECT_EQ(plan.passes, 1);
  EXPECT_NEAR(plan.estimated_seconds,
              (3 * 100000 + 300) * 1e-4 + 100000 * 300 * 1e-7, 1e-9);
}

TEST(RunPlanTest, WhatIsNotMeasuredIsNotKnown) {
  PlanProblem problem = Problem();
  problem.memory_limit = kMiB;
  BatchProbe probe = Probe(kMiB);
  probe.bytes.reset();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const RunPlan plan, MakePlan(problem, probe));
  EXPECT_EQ(plan.peak_memory_bytes, 0);
  EXPECT_THAT(PlanText(plan, problem.memory_limit),
              HasSubstr("peak memory not known (limit 1 MiB)"));
}

TEST(RunPlanTest, ReadsBackWhatWasKept) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(RunPlan plan,
                                 MakePlan(Problem(), Probe(8000)));
  plan.fit_batch_size = 12;
  const nlohmann::ordered_json json = PlanJson(plan);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const RunPlan read,
      ParsePlan("s.zarr", nlohmann::ordered_json::parse(json.dump())));
  EXPECT_EQ(PlanJson(read), json);
  for (const auto& [name, value] : json.items()) {
    if (name == "estimated_seconds") continue;
    nlohmann::ordered_json damaged = json;
    damaged[name] = -1;
    EXPECT_THAT(ParsePlan("s.zarr", damaged),
                StatusIs(absl::StatusCode::kDataLoss,
                         HasSubstr("s.zarr: found no plan with " + name)));
    damaged.erase(name);
    EXPECT_FALSE(ParsePlan("s.zarr", damaged).ok());
  }
  EXPECT_FALSE(ParsePlan("s.zarr", nullptr).ok());
}

TEST(RunPlanTest, AnotherBatchSizeIsRefused) {
  RunPlan plan;
  plan.batch_size = 32;
  INFLUENCE_EXPECT_OK(CheckBatchSize("s.zarr", plan, std::nullopt, 100));
  INFLUENCE_EXPECT_OK(CheckBatchSize("s.zarr", plan, 32, 100));
  INFLUENCE_EXPECT_OK(CheckBatchSize("s.zarr", plan, 50, 32));
  EXPECT_THAT(CheckBatchSize("s.zarr", plan, 33, 100),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("--batch-size: found 33, expected 32")));
}

}  // namespace
}  // namespace influence
