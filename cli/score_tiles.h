// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The scores of a run, tile by tile: groups of queries, prepared once each, met
// by the batches of the training data. Which tiles are computed here is for a
// schedule to say (tile_schedule.h), and for the place where they go.
#ifndef INFLUENCE_CLI_SCORE_TILES_H_
#define INFLUENCE_CLI_SCORE_TILES_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "base/progress.h"
#include "calculators/tile_schedule.h"
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
// batch by batch, and kept as factors. With a `job` of several ranks, which
// must outlive the result, to prepare a group is collective: a batch is solved
// for by one rank for all, or, if the model solves_together(), by all at a
// time.
QueryGroups GroupsOfFactors(std::shared_ptr<const ComposableInfluence> model,
                            std::shared_ptr<const BatchSequence> test,
                            int64_t size, Communicator* job = nullptr);

// Queries whose factors [M, P] are at hand; `read` gives rows [begin, end).
// solves: how all of them were solved for, by block, as far as it is known.
using ReadRowsFunction =
    std::function<absl::StatusOr<at::Tensor>(int64_t begin, int64_t end)>;
QueryGroups StoredFactors(std::shared_ptr<const ComposableInfluence> model,
                          ReadRowsFunction read, int64_t num_queries,
                          int64_t size,
                          std::vector<BlockSolveReports> solves = {});

// Which scores: one array for each of `inputs`, or for each of these one for
// each of `blocks`.
struct ScoreArrays {
  InfluenceMode mode = InfluenceMode::kUp;
  std::vector<int64_t> inputs = {0};  // That are perturbed.
  std::vector<std::string> blocks;    // Empty for the sum over the blocks.
};

// Where the tiles go. With several workers its members are called by several
// threads at a time, Wants() but by one; tiles then come in any order.
class ScoreTileSink {
 public:
  virtual ~ScoreTileSink() = default;

  // False if the tile of group `group` and batch `column` is there already: it
  // is not computed.
  virtual bool Wants(int64_t /*group*/, int64_t /*column*/) const {
    return true;
  }

  // How the queries of a group were solved for, by block; empty for methods
  // that do not iterate. Comes before the group's tiles.
  virtual absl::Status Prepared(
      int64_t group, const std::vector<BlockSolveReports>& reports) = 0;

  // A tile of array number `array`, by inputs and then blocks.
  virtual absl::Status Add(size_t array, int64_t group, int64_t column,
                           const at::Tensor& tile) = 0;

  // Where ranks share the tiles of each group: comes on every rank, after the
  // last tile of the group that it has computed. Collective.
  virtual absl::Status FinishSharedGroup(int64_t /*group*/,
                                         Communicator& /*job*/) {
    return absl::OkStatus();
  }
};

// Computes the tiles that `schedule` hands out, of group t / num_batches and
// batch t % num_batches of `train`, and that `sink` wants, a step of `progress`
// (may be null) each, wanted or not; `num_tiles`: how many that will be. A
// group is prepared when the first of its tiles is to be computed, and kept
// until one of another is. Ends at the first error.
//
// num_workers 1: in the calling thread, with LibTorch's threads. More: by so
// many threads, each with LibTorch on one (tile_workers.h).
absl::Status ForEachScoreTile(const QueryGroups& queries,
                              const BatchSequence& train,
                              const ScoreArrays& arrays, TileSchedule& schedule,
                              int64_t num_tiles, ScoreTileSink& sink,
                              ProgressReporter* progress, int num_workers = 1);

// The same by the ranks of `job`, group after group: all ranks prepare a group
// (GroupsOfFactors()), then each takes tiles of it as it is ready. For queries
// that are worth solving for together, and once. Collective; what the sink of
// the first rank wants is done; Prepared() is called on each.
absl::Status ForEachSharedScoreTile(const QueryGroups& queries,
                                    const BatchSequence& train,
                                    const ScoreArrays& arrays,
                                    Communicator& job, ScoreTileSink& sink,
                                    ProgressReporter* progress);

// The blocks' factors side by side, [m, P].
absl::StatusOr<at::Tensor> SideBySide(const TensorMap& by_block);

}  // namespace influence

#endif  // INFLUENCE_CLI_SCORE_TILES_H_
