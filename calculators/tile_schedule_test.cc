// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/tile_schedule.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// What is left of the schedule, by Next().
std::vector<int64_t> Rest(TileSchedule& schedule) {
  std::vector<int64_t> tiles;
  while (true) {
    const absl::StatusOr<std::optional<int64_t>> tile = schedule.Next();
    EXPECT_THAT(tile, IsOk());
    if (!tile.ok() || !tile->has_value()) return tiles;
    tiles.push_back(**tile);
  }
}

// The same by After(), which hands out nothing.
std::vector<int64_t> Foreseen(const TileSchedule& schedule) {
  std::vector<int64_t> tiles;
  for (std::optional<int64_t> tile = schedule.After(-1); tile.has_value();
       tile = schedule.After(*tile)) {
    tiles.push_back(*tile);
  }
  return tiles;
}

TEST(CounterTileScheduleTest, HandsOutEveryTileInOrder) {
  CounterTileSchedule schedule(4);
  EXPECT_THAT(Foreseen(schedule), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(Rest(schedule), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(Rest(schedule), IsEmpty());
}

TEST(CounterTileScheduleTest, HasNothingOfNothing) {
  for (const int64_t num_tiles : {0, -1}) {
    CounterTileSchedule schedule(num_tiles);
    EXPECT_THAT(Rest(schedule), IsEmpty());
    EXPECT_THAT(Foreseen(schedule), IsEmpty());
  }
}

TEST(CounterTileScheduleTest, GivesNoTileTwiceToSeveralThreads) {
  constexpr int64_t kTiles = 10000;
  constexpr int kThreads = 4;
  CounterTileSchedule schedule(kTiles);
  std::vector<std::vector<int64_t>> taken(kThreads);
  std::vector<std::thread> threads;
  for (std::vector<int64_t>& mine : taken) {
    threads.emplace_back([&schedule, &mine] { mine = Rest(schedule); });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<int64_t> all;
  size_t count = 0;
  for (const std::vector<int64_t>& mine : taken) {
    EXPECT_TRUE(std::is_sorted(mine.begin(), mine.end()));
    all.insert(mine.begin(), mine.end());
    count += mine.size();
  }
  EXPECT_EQ(count, kTiles);
  EXPECT_EQ(all.size(), kTiles);
}

TEST(ShardTileScheduleTest, TakesEveryNth) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<ShardTileSchedule> two,
                                 ShardTileSchedule::Create(10, 2, 3));
  EXPECT_EQ(two->num_tiles(), 3);
  EXPECT_THAT(Foreseen(*two), ElementsAre(1, 4, 7));
  EXPECT_EQ(two->After(4), 7);
  EXPECT_EQ(two->After(5), 7);
  EXPECT_THAT(Rest(*two), ElementsAre(1, 4, 7));
  EXPECT_THAT(Rest(*two), IsEmpty());
}

TEST(ShardTileScheduleTest, ShardsCoverAllTilesOnce) {
  for (const int64_t num_tiles : {0, 1, 2, 7, 12}) {
    for (const int64_t num_shards : {1, 2, 3, 13}) {
      std::multiset<int64_t> all;
      for (int64_t shard = 1; shard <= num_shards; ++shard) {
        INFLUENCE_ASSERT_OK_AND_ASSIGN(
            const std::unique_ptr<ShardTileSchedule> schedule,
            ShardTileSchedule::Create(num_tiles, shard, num_shards));
        const std::vector<int64_t> foreseen = Foreseen(*schedule);
        const std::vector<int64_t> tiles = Rest(*schedule);
        EXPECT_EQ(tiles, foreseen);
        EXPECT_EQ(static_cast<int64_t>(tiles.size()), schedule->num_tiles());
        all.insert(tiles.begin(), tiles.end());
      }
      std::multiset<int64_t> expected;
      for (int64_t tile = 0; tile < num_tiles; ++tile) expected.insert(tile);
      EXPECT_EQ(all, expected) << num_tiles << " in " << num_shards;
    }
  }
}

TEST(ShardTileScheduleTest, TakesEveryNthRun) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<ShardTileSchedule> two,
      ShardTileSchedule::Create(14, 2, 3, /*run_length=*/2));
  EXPECT_EQ(two->num_tiles(), 4);
  EXPECT_THAT(Foreseen(*two), ElementsAre(2, 3, 8, 9));
  EXPECT_THAT(Rest(*two), ElementsAre(2, 3, 8, 9));
}

TEST(ShardTileScheduleTest, RunsCoverAllTilesOnce) {
  for (const int64_t run_length : {1, 2, 3, 7}) {
    for (const int64_t num_tiles : {0, 1, 6, 7, 20}) {
      for (const int64_t num_shards : {1, 2, 3, 5}) {
        SCOPED_TRACE(absl::StrCat(num_tiles, " tiles in runs of ", run_length,
                                  ", ", num_shards, " shards"));
        std::vector<int64_t> all;
        for (int64_t shard = 1; shard <= num_shards; ++shard) {
          INFLUENCE_ASSERT_OK_AND_ASSIGN(
              const std::unique_ptr<ShardTileSchedule> schedule,
              ShardTileSchedule::Create(num_tiles, shard, num_shards,
                                        run_length));
          const std::vector<int64_t> foreseen = Foreseen(*schedule);
          const std::vector<int64_t> tiles = Rest(*schedule);
          EXPECT_EQ(foreseen, tiles);
          EXPECT_EQ(schedule->num_tiles(), tiles.size());
          for (const int64_t tile : tiles) {
            EXPECT_EQ(tile / run_length % num_shards, shard - 1);
          }
          all.insert(all.end(), tiles.begin(), tiles.end());
        }
        std::sort(all.begin(), all.end());
        ASSERT_EQ(all.size(), num_tiles);
        for (int64_t tile = 0; tile < num_tiles; ++tile) {
          EXPECT_EQ(all[tile], tile);
        }
      }
    }
  }
}

TEST(ShardTileScheduleTest, RefusesShardsThatDoNotExist) {
  for (const int64_t shard : {0, -1, 4}) {
    EXPECT_THAT(ShardTileSchedule::Create(10, shard, 3),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("shard: found "),
                               HasSubstr(std::to_string(shard) + " of 3"))));
  }
  EXPECT_THAT(ShardTileSchedule::Create(10, 1, 3, /*run_length=*/0),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("run_length: found 0")));
  EXPECT_THAT(ShardTileSchedule::Create(10, 1, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("of 0")));
}

}  // namespace
}  // namespace influence
