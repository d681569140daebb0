// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/tile_schedule.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace influence {
namespace {

std::optional<int64_t> Below(int64_t tile, int64_t num_tiles) {
  if (tile >= num_tiles) return std::nullopt;
  return tile;
}

}  // namespace

absl::StatusOr<std::optional<int64_t>> CounterTileSchedule::Next() {
  // A counter that has passed the end is left alone: it could overflow.
  if (next_.load(std::memory_order_relaxed) >= num_tiles_) return std::nullopt;
  return Below(next_.fetch_add(1, std::memory_order_relaxed), num_tiles_);
}

std::optional<int64_t> CounterTileSchedule::After(int64_t tile) const {
  return Below(std::max<int64_t>(tile + 1, 0), num_tiles_);
}

absl::StatusOr<std::unique_ptr<ShardTileSchedule>> ShardTileSchedule::Create(
    int64_t num_tiles, int64_t shard, int64_t num_shards) {
  if (shard < 1 || shard > num_shards) {
    return absl::InvalidArgumentError(
        absl::StrCat("shard: found ", shard, " of ", num_shards,
                     ", expected i of n with 1 <= i <= n"));
  }
  return std::unique_ptr<ShardTileSchedule>(
      new ShardTileSchedule(num_tiles, shard, num_shards));
}

ShardTileSchedule::ShardTileSchedule(int64_t num_tiles, int64_t shard,
                                     int64_t num_shards)
    : num_tiles_(std::max<int64_t>(num_tiles, 0)),
      first_(shard - 1),
      num_shards_(num_shards) {}

int64_t ShardTileSchedule::num_tiles() const {
  return std::max<int64_t>(
      (num_tiles_ - first_ + num_shards_ - 1) / num_shards_, 0);
}

absl::StatusOr<std::optional<int64_t>> ShardTileSchedule::Next() {
  const int64_t count = num_tiles();
  if (next_.load(std::memory_order_relaxed) >= count) return std::nullopt;
  const int64_t index = next_.fetch_add(1, std::memory_order_relaxed);
  if (index >= count) return std::nullopt;
  return first_ + index * num_shards_;
}

std::optional<int64_t> ShardTileSchedule::After(int64_t tile) const {
  if (tile < first_) return Below(first_, num_tiles_);
  const int64_t index = (tile - first_) / num_shards_ + 1;
  return Below(first_ + index * num_shards_, num_tiles_);
}

}  // namespace influence
