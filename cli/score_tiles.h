// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The scores of a run, tile by tile: groups of queries, prepared once each, met
// by the batches of the training data.
#ifndef INFLUENCE_CLI_SCORE_TILES_H_
#define INFLUENCE_CLI_SCORE_TILES_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/progress.h"
#include "gradients/batch_sequence.h"
#include "gradients/tensor_map.h"
#include "influence/composable_influence.h"
#include "influence/influence_mode.h"
#include "influence/prepared_queries.h"

namespace influence {

// Queries that share a pass over the training data, group by group.
struct QueryGroups {
  int64_t num_groups;

  // Prepares a group, 0 <= group < num_groups.
  std::function<absl::StatusOr<std::unique_ptr<const PreparedQueries>>(
      int64_t group)>
      prepare;
};

// A batch of `test` a group.
QueryGroups BatchesOfQueries(std::shared_ptr<const ComposableInfluence> model,
                             std::shared_ptr<const BatchSequence> test);

// `size` batches of `test` a group, whose gradients are taken and solved for
// batch by batch, and kept as factors.
QueryGroups GroupsOfFactors(std::shared_ptr<const ComposableInfluence> model,
                            std::shared_ptr<const BatchSequence> test,
                            int64_t size);

// Queries whose factors [M, P] are at hand; `read` gives rows [begin, end).
using ReadRowsFunction =
    std::function<absl::StatusOr<at::Tensor>(int64_t begin, int64_t end)>;
QueryGroups StoredFactors(std::shared_ptr<const ComposableInfluence> model,
                          ReadRowsFunction read, int64_t num_queries,
                          int64_t size);

// Which scores: one array for each of `inputs`, or for each of these one for
// each of `blocks`.
struct ScoreArrays {
  InfluenceMode mode = InfluenceMode::kUp;
  std::vector<int64_t> inputs = {0};  // That are perturbed.
  std::vector<std::string> blocks;    // Empty for the sum over the blocks.
};

// Takes a tile of array number `array`, by inputs and then blocks, whose first
// entry is at `row` and `column`.
using TileFunction = absl::FunctionRef<absl::Status(
    size_t array, int64_t row, int64_t column, const at::Tensor& tile)>;

// Computes all tiles, group by group and batch by batch of `train`, a step of
// `progress` (may be null) each. Gives how the queries were solved for, all of
// them in their order, by block; empty for methods that do not iterate.
absl::StatusOr<std::vector<BlockSolveReports>> ForEachScoreTile(
    const QueryGroups& queries, const BatchSequence& train,
    const ScoreArrays& arrays, TileFunction tile, ProgressReporter* progress);

// The blocks' factors side by side, [m, P].
absl::StatusOr<at::Tensor> SideBySide(const TensorMap& by_block);

// Appends the reports of further queries, block by block.
void AppendReports(const std::vector<BlockSolveReports>& more,
                   std::vector<BlockSolveReports>& reports);

}  // namespace influence

#endif  // INFLUENCE_CLI_SCORE_TILES_H_
