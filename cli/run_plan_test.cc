// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/run_plan.h"

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/batch_sizes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kMillion = 1000000;

BatchProblem Problem() {
  return {.num_parameters = kMillion,
          .item_size = 4,
          .num_train = 1000,
          .num_queries = 300,
          .values_per_input = 784,
          .values_per_score = 1};
}

TEST(RunPlanTest, BatchesOfQueriesShareAPassWhereFactorsAreKept) {
  // 67 gradients of 4 MB are 256 MiB, 134 factors 512 MiB.
  const RunPlan shared = PlanQueries(Problem(), std::nullopt, true);
  EXPECT_EQ(shared.batch_size, 67);
  EXPECT_EQ(shared.query_batch_size, 67);
  EXPECT_EQ(shared.queries_per_pass, 134);
  EXPECT_EQ(shared.passes, 3);
  const RunPlan apart = PlanQueries(Problem(), std::nullopt, false);
  EXPECT_EQ(apart.queries_per_pass, 67);
  EXPECT_EQ(apart.passes, 5);
}

TEST(RunPlanTest, OnePassTakesAllQueriesThatFit) {
  BatchProblem problem = Problem();
  problem.num_parameters = 1000;
  const RunPlan plan = PlanQueries(problem, 7, true);
  EXPECT_EQ(plan.batch_size, 7);
  EXPECT_EQ(plan.query_batch_size, 7);
  EXPECT_EQ(plan.queries_per_pass, 300);
  EXPECT_EQ(plan.passes, 1);
}

TEST(RunPlanTest, ReadsBackWhatWasKept) {
  RunPlan plan = PlanQueries(Problem(), std::nullopt, true);
  plan.fit_batch_size = 12;
  const nlohmann::ordered_json json = PlanJson(plan);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const RunPlan read,
      ParsePlan("s.zarr", nlohmann::ordered_json::parse(json.dump())));
  EXPECT_EQ(PlanJson(read), json);
  for (const auto& [name, value] : json.items()) {
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
