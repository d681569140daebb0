// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/distributed_tile_schedule.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "base/thread_team.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

TEST(DistributedTileScheduleTest, RanksShareTheTiles) {
  for (const int size : {1, 2, 3}) {
    for (const int64_t num_tiles : {0, 1, 7, 100}) {
      for (const int64_t run_length : {1, 5, 200}) {
        std::mutex mutex;
        std::multiset<int64_t> all;
        INFLUENCE_ASSERT_OK(FirstError(RunThreadTeam(
            size, [&](Communicator& communicator) -> absl::Status {
              INFLUENCE_ASSIGN_OR_RETURN(
                  const std::unique_ptr<DistributedTileSchedule> schedule,
                  DistributedTileSchedule::Create(communicator, num_tiles,
                                                  run_length));
              std::vector<int64_t> mine;
              while (true) {
                INFLUENCE_ASSIGN_OR_RETURN(const std::optional<int64_t> tile,
                                           schedule->Next());
                if (!tile.has_value()) break;
                mine.push_back(*tile);
              }
              EXPECT_TRUE(std::is_sorted(mine.begin(), mine.end()));
              const std::lock_guard<std::mutex> lock(mutex);
              all.insert(mine.begin(), mine.end());
              return absl::OkStatus();
            })));
        std::multiset<int64_t> expected;
        for (int64_t tile = 0; tile < num_tiles; ++tile) expected.insert(tile);
        EXPECT_EQ(all, expected) << num_tiles << " in runs of " << run_length;
      }
    }
  }
}

TEST(DistributedTileScheduleTest, ForeseesTheRestOfItsRun) {
  const std::unique_ptr<Communicator> alone = SingleProcess();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<DistributedTileSchedule> schedule,
      DistributedTileSchedule::Create(*alone, 8, 3));
  EXPECT_EQ(schedule->After(-1), std::nullopt);
  for (const int64_t expected : {0, 1, 2, 3}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::optional<int64_t> tile,
                                   schedule->Next());
    EXPECT_EQ(tile, expected);
  }
  EXPECT_EQ(schedule->After(-1), 3);
  EXPECT_EQ(schedule->After(3), 4);
  EXPECT_EQ(schedule->After(4), 5);
  EXPECT_EQ(schedule->After(5), std::nullopt);
}

TEST(DistributedTileScheduleTest, RefusesBadArguments) {
  const std::unique_ptr<Communicator> alone = SingleProcess();
  EXPECT_THAT(DistributedTileSchedule::Create(*alone, -1),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("num_tiles: found -1")));
  EXPECT_THAT(DistributedTileSchedule::Create(*alone, 1, 0),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("run_length: found 0")));
}

}  // namespace
}  // namespace influence
