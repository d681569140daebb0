// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/run_plan.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "cli/batch_sizes.h"
#include "nlohmann/json.hpp"

namespace influence {
namespace {

using Json = nlohmann::ordered_json;

struct PlanField {
  const char* name;
  int64_t RunPlan::*value;
  int64_t least;
};

constexpr PlanField kFields[] = {
    {"fit_batch_size", &RunPlan::fit_batch_size, 0},
    {"batch_size", &RunPlan::batch_size, 1},
    {"query_batch_size", &RunPlan::query_batch_size, 1},
    {"queries_per_pass", &RunPlan::queries_per_pass, 1},
    {"passes", &RunPlan::passes, 1},
};

}  // namespace

RunPlan PlanQueries(const BatchProblem& problem,
                    std::optional<int64_t> requested, bool keeps_factors) {
  const BatchSizes sizes = ChooseBatchSizes(problem, requested);
  const int64_t num_queries = problem.num_queries;
  RunPlan plan;
  plan.batch_size = sizes.train;
  // The gradients of queries are taken in batches no larger than the training
  // data's. What is kept of them without solving is as large as the gradients.
  plan.query_batch_size = std::min(sizes.train, sizes.queries);
  int64_t group = 1;
  if (keeps_factors) {
    group =
        sizes.queries == num_queries
            ? (num_queries + plan.query_batch_size - 1) / plan.query_batch_size
            : std::max<int64_t>(sizes.queries / plan.query_batch_size, 1);
  }
  plan.queries_per_pass = std::min(group * plan.query_batch_size, num_queries);
  plan.passes =
      (num_queries + plan.queries_per_pass - 1) / plan.queries_per_pass;
  return plan;
}

Json PlanJson(const RunPlan& plan) {
  Json json;
  for (const PlanField& field : kFields) json[field.name] = plan.*field.value;
  return json;
}

absl::StatusOr<RunPlan> ParsePlan(const std::string& where, const Json& json) {
  RunPlan plan;
  for (const PlanField& field : kFields) {
    const auto found =
        json.is_object() ? json.find(field.name) : Json::const_iterator();
    if (!json.is_object() || found == json.end() ||
        !found->is_number_integer() || found->get<int64_t>() < field.least) {
      return absl::DataLossError(absl::StrCat(
          where, ": found no plan with ", field.name,
          ", expected that of the run that has begun it; --overwrite in place "
          "of --resume starts anew"));
    }
    plan.*field.value = found->get<int64_t>();
  }
  return plan;
}

absl::Status CheckBatchSize(const std::string& where, const RunPlan& plan,
                            std::optional<int64_t> requested,
                            int64_t num_samples) {
  if (!requested.has_value() ||
      std::min(*requested, num_samples) == plan.batch_size) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat("--batch-size: found ", *requested, ", expected ",
                   plan.batch_size, " (or auto), with which ", where,
                   " was begun; --overwrite in place of --resume starts anew"));
}

}  // namespace influence
