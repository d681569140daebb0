// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// How a run is cut into batches and tiles, decided once and kept with the
// output, so that whoever goes on with it cuts it in the same way.
#ifndef INFLUENCE_CLI_RUN_PLAN_H_
#define INFLUENCE_CLI_RUN_PLAN_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/batch_sizes.h"
#include "nlohmann/json.hpp"

namespace influence {

struct RunPlan {
  int64_t fit_batch_size = 0;    // Samples a batch of the fit; 0 without one.
  int64_t batch_size = 1;        // Samples a batch: columns of a tile.
  int64_t query_batch_size = 1;  // Queries whose gradients are taken at a time.
  int64_t queries_per_pass = 1;  // Rows of a tile; a multiple of the above, or
                                 // all queries.
  int64_t passes = 1;            // Over the training data, for the scores.
};

// Cuts the queries of `problem`. `keeps_factors`: of queries that were solved
// for a factor is kept, so that several batches of them share a pass.
// `requested`: the batch size, if it is not for this function to choose.
RunPlan PlanQueries(const BatchProblem& problem,
                    std::optional<int64_t> requested, bool keeps_factors);

nlohmann::ordered_json PlanJson(const RunPlan& plan);

// The reverse. kDataLoss, naming `where`, if something is missing or out of
// range.
absl::StatusOr<RunPlan> ParsePlan(const std::string& where,
                                  const nlohmann::ordered_json& json);

// kFailedPrecondition if the run at `where`, which is gone on with, has batches
// of another size than what `requested` asks for of `num_samples`.
absl::Status CheckBatchSize(const std::string& where, const RunPlan& plan,
                            std::optional<int64_t> requested,
                            int64_t num_samples);

}  // namespace influence

#endif  // INFLUENCE_CLI_RUN_PLAN_H_
