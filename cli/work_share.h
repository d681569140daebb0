// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Which of a run's tiles this process computes: all of them, those of its
// shard, or what the ranks of its job leave to it.
#ifndef INFLUENCE_CLI_WORK_SHARE_H_
#define INFLUENCE_CLI_WORK_SHARE_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calculators/tile_schedule.h"
#include "cli/options.h"

namespace influence {

struct WorkShare {
  std::unique_ptr<TileSchedule> schedule;
  int64_t num_tiles = 0;  // What progress counts to: a shard's, or everybody's.
};

// Collective in a job. `run_length`: tiles that a rank takes at a time, or that
// lie side by side in a shard, as of DistributedTileSchedule and
// ShardTileSchedule.
absl::StatusOr<WorkShare> ShareWork(const OutputOptions& options,
                                    int64_t num_tiles, int64_t run_length = 1);

// Collective in a job: returns when every rank has done its share. True in the
// process that finishes the output: the first rank, or one that has no others.
absl::StatusOr<bool> FinishShares();

}  // namespace influence

#endif  // INFLUENCE_CLI_WORK_SHARE_H_
