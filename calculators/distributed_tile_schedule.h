// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Tiles for the processes of a job: whoever is ready takes the next ones from a
// shared counter, so that fast ranks do more and no rank waits for another.
#ifndef INFLUENCE_CALCULATORS_DISTRIBUTED_TILE_SCHEDULE_H_
#define INFLUENCE_CALCULATORS_DISTRIBUTED_TILE_SCHEDULE_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "calculators/tile_schedule.h"

namespace influence {

// Each rank has one of these. Tiles are taken in runs of `run_length`, the last
// of which may be shorter: 1 spreads them best; the number of columns gives a
// rank whole rows, for queries whose preparation costs more than their tiles.
class DistributedTileSchedule : public TileSchedule {
 public:
  // Collective. kInvalidArgument, naming it, if num_tiles < 0 or run_length <
  // 1; errors of the communicator, which must outlive the result.
  static absl::StatusOr<std::unique_ptr<DistributedTileSchedule>> Create(
      Communicator& communicator, int64_t num_tiles, int64_t run_length = 1);

  // The first call of a run costs a FetchAdd().
  absl::StatusOr<std::optional<int64_t>> Next() override;

  bool TellsProgressOfAll() const override { return true; }

  // Within the run that was taken last.
  std::optional<int64_t> After(int64_t tile) const override;

 private:
  DistributedTileSchedule(std::unique_ptr<SharedCounter> counter,
                          int64_t num_tiles, int64_t run_length)
      : counter_(std::move(counter)),
        num_tiles_(num_tiles),
        run_length_(run_length) {}

  const std::unique_ptr<SharedCounter> counter_;  // Of runs.
  const int64_t num_tiles_;
  const int64_t run_length_;
  mutable std::mutex mutex_;  // Of what follows.
  int64_t begin_ = 0;         // What is left of the run: [next_, end_).
  int64_t next_ = 0;
  int64_t end_ = 0;
};

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_DISTRIBUTED_TILE_SCHEDULE_H_
