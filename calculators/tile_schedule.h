// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Who computes which tile. The tiles of an array cut into rows x columns are
// numbered row * columns + column, and every number is handed out once among
// all that share a schedule: the threads of a process, the processes of a job,
// or the shards of an array of jobs, which share nothing but their count.
//
//   CounterTileSchedule schedule(rows * columns);
//   while (true) {
//     INFLUENCE_ASSIGN_OR_RETURN(const std::optional<int64_t> tile,
//                                schedule.Next());
//     if (!tile.has_value()) break;
//     // Compute tile (*tile / columns, *tile % columns).
//   }
#ifndef INFLUENCE_CALCULATORS_TILE_SCHEDULE_H_
#define INFLUENCE_CALCULATORS_TILE_SCHEDULE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"

namespace influence {

// Thread-safe.
class TileSchedule {
 public:
  virtual ~TileSchedule() = default;

  // The next tile for the caller: larger than all that this object has handed
  // out before. nullopt when none is left, then and from then on. Fails only
  // where other processes take part.
  virtual absl::StatusOr<std::optional<int64_t>> Next() = 0;

  // Whether every tile below one that was handed out here has been handed out
  // to somebody, so that it tells how far all are together.
  virtual bool TellsProgressOfAll() const { return false; }

  // The smallest tile above `tile` that this object, and no other, will hand
  // out or has handed out, so that one may prepare for it; nullopt where there
  // is none, or where that is not known. Pass -1 for the first.
  virtual std::optional<int64_t> After(int64_t /*tile*/) const {
    return std::nullopt;
  }
};

// All tiles, to the threads of one process. A call costs an atomic addition.
class CounterTileSchedule : public TileSchedule {
 public:
  // num_tiles: none where it is not positive.
  explicit CounterTileSchedule(int64_t num_tiles) : num_tiles_(num_tiles) {}

  absl::StatusOr<std::optional<int64_t>> Next() override;
  std::optional<int64_t> After(int64_t tile) const override;

 private:
  const int64_t num_tiles_;
  std::atomic<int64_t> next_ = 0;
};

// Shard i of n: runs i - 1, i - 1 + n, i - 1 + 2 n, ... of run_length tiles
// each (the last may be shorter), so that the shards of an array of jobs cover
// all tiles, none twice, whenever and wherever they run. Runs of one tile lie
// in every row (or in every n / columns-th), and each shard prepares the
// queries of all these rows; the number of columns gives a shard whole rows.
class ShardTileSchedule : public TileSchedule {
 public:
  // kInvalidArgument naming "shard", with both numbers, unless 1 <= shard <=
  // num_shards, or "run_length" if that is < 1. `num_tiles` as of
  // CounterTileSchedule.
  static absl::StatusOr<std::unique_ptr<ShardTileSchedule>> Create(
      int64_t num_tiles, int64_t shard, int64_t num_shards,
      int64_t run_length = 1);

  absl::StatusOr<std::optional<int64_t>> Next() override;
  std::optional<int64_t> After(int64_t tile) const override;

  // How many tiles belong to the shard.
  int64_t num_tiles() const;

 private:
  ShardTileSchedule(int64_t num_tiles, int64_t shard, int64_t num_shards,
                    int64_t run_length);

  // The shard's tile number `index`, from 0; beyond the end if there is none.
  int64_t TileOf(int64_t index) const;

  const int64_t num_tiles_;  // Of all shards.
  const int64_t first_run_;
  const int64_t num_shards_;
  const int64_t run_length_;
  std::atomic<int64_t> next_ = 0;  // How many were handed out.
};

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_TILE_SCHEDULE_H_
