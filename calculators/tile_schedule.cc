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
    int64_t num_tiles, int64_t shard, int64_t num_shards, int64_t run_length) {
  if (shard < 1 || shard > num_shards) {
    return absl::InvalidArgumentError(
        absl::StrCat("shard: found ", shard, " of ", num_shards,
                     ", expected i of n with 1 <= i <= n"));
  }
  if (run_length < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("run_length: found ", run_length, ", expected >= 1"));
  }
  return std::unique_ptr<ShardTileSchedule>(
      new ShardTileSchedule(num_tiles, shard, num_shards, run_length));
}

ShardTileSchedule::ShardTileSchedule(int64_t num_tiles, int64_t shard,
                                     int64_t num_shards, int64_t run_length)
    : num_tiles_(std::max<int64_t>(num_tiles, 0)),
      first_run_(shard - 1),
      num_shards_(num_shards),
      run_length_(run_length) {}

int64_t ShardTileSchedule::TileOf(int64_t index) const {
  const int64_t run = first_run_ + index / run_length_ * num_shards_;
  return run * run_length_ + index % run_length_;
}

int64_t ShardTileSchedule::num_tiles() const {
  // Whole turns of all shards, and what is left of the last one.
  const int64_t turn = run_length_ * num_shards_;
  const int64_t left = num_tiles_ % turn - first_run_ * run_length_;
  return num_tiles_ / turn * run_length_ +
         std::clamp<int64_t>(left, 0, run_length_);
}

absl::StatusOr<std::optional<int64_t>> ShardTileSchedule::Next() {
  const int64_t count = num_tiles();
  if (next_.load(std::memory_order_relaxed) >= count) return std::nullopt;
  const int64_t index = next_.fetch_add(1, std::memory_order_relaxed);
  if (index >= count) return std::nullopt;
  return TileOf(index);
}

std::optional<int64_t> ShardTileSchedule::After(int64_t tile) const {
  const int64_t next = std::max<int64_t>(tile + 1, 0);
  const int64_t run = next / run_length_;
  // The shard's run that holds `next`, or the first one after it.
  const int64_t turn = (run - first_run_ + num_shards_ - 1) / num_shards_;
  if (run <= first_run_) {
    return Below(std::max(next, first_run_ * run_length_), num_tiles_);
  }
  return Below(std::max(next, TileOf(turn * run_length_)), num_tiles_);
}

}  // namespace influence
