// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/distributed_tile_schedule.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/communicator.h"
#include "base/status_macros.h"

namespace influence {

absl::StatusOr<std::unique_ptr<DistributedTileSchedule>>
DistributedTileSchedule::Create(Communicator& communicator, int64_t num_tiles,
                                int64_t run_length) {
  if (num_tiles < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_tiles: found ", num_tiles, ", expected >= 0"));
  }
  if (run_length < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("run_length: found ", run_length, ", expected >= 1"));
  }
  INFLUENCE_ASSIGN_OR_RETURN(std::unique_ptr<SharedCounter> counter,
                             communicator.CreateCounter());
  return std::unique_ptr<DistributedTileSchedule>(
      new DistributedTileSchedule(std::move(counter), num_tiles, run_length));
}

absl::StatusOr<std::optional<int64_t>> DistributedTileSchedule::Next() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (next_ == end_) {
    if (end_ == num_tiles_) return std::nullopt;
    INFLUENCE_ASSIGN_OR_RETURN(const int64_t run, counter_->FetchAdd(1));
    const int64_t num_runs = (num_tiles_ + run_length_ - 1) / run_length_;
    if (run >= num_runs) {
      begin_ = next_ = end_ = num_tiles_;
      return std::nullopt;
    }
    begin_ = next_ = run * run_length_;
    end_ = std::min(begin_ + run_length_, num_tiles_);
  }
  return next_++;
}

std::optional<int64_t> DistributedTileSchedule::After(int64_t tile) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const int64_t after = std::max(tile + 1, begin_);
  if (after >= end_) return std::nullopt;
  return after;
}

}  // namespace influence
