// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/work_share.h"

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "calculators/distributed_tile_schedule.h"
#include "calculators/tile_schedule.h"
#include "cli/job.h"
#include "cli/options.h"

namespace influence {

absl::StatusOr<WorkShare> ShareWork(const OutputOptions& options,
                                    int64_t num_tiles, int64_t run_length) {
  if (options.shard.has_value()) {
    INFLUENCE_ASSIGN_OR_RETURN(
        std::unique_ptr<ShardTileSchedule> shard,
        ShardTileSchedule::Create(num_tiles, options.shard->index,
                                  options.shard->count, run_length));
    const int64_t of_shard = shard->num_tiles();
    return WorkShare{std::move(shard), of_shard};
  }
  const std::shared_ptr<Communicator> job = Job();
  if (job->size() == 1) {
    return WorkShare{std::make_unique<CounterTileSchedule>(num_tiles),
                     num_tiles};
  }
  INFLUENCE_ASSIGN_OR_RETURN(
      std::unique_ptr<TileSchedule> schedule,
      DistributedTileSchedule::Create(*job, num_tiles, run_length));
  return WorkShare{std::move(schedule), num_tiles};
}

absl::StatusOr<bool> FinishShares() {
  INFLUENCE_RETURN_IF_ERROR(Job()->Barrier());
  return IsFirstRank();
}

}  // namespace influence
