// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/work_share.h"

#include <cstdint>
#include <optional>

#include "ATen/Parallel.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/job.h"
#include "cli/options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

// Ranks are tests/cli_job_test's.
TEST(WorkShareTest, OneProcessDoesEverything) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const WorkShare share,
                                 ShareWork(OutputOptions(), 3));
  EXPECT_EQ(share.num_tiles, 3);
  EXPECT_FALSE(share.schedule->TellsProgressOfAll());
  for (int64_t expected = 0; expected < 3; ++expected) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::optional<int64_t> tile,
                                   share.schedule->Next());
    EXPECT_EQ(tile, expected);
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const bool finishes, FinishShares());
  EXPECT_TRUE(finishes);
}

TEST(WorkShareTest, AShardDoesItsPart) {
  OutputOptions options;
  options.shard = Shard{2, 3};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const WorkShare share, ShareWork(options, 7));
  EXPECT_EQ(share.num_tiles, 2);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::optional<int64_t> tile,
                                 share.schedule->Next());
  EXPECT_EQ(tile, 1);
  options.shard = Shard{4, 3};
  EXPECT_THAT(ShareWork(options, 7),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       ::testing::HasSubstr("4 of 3")));
}

TEST(JobTest, WithoutMpirunThereIsOneRank) {
  INFLUENCE_ASSERT_OK(JoinJob());
  EXPECT_EQ(Job()->size(), 1);
  EXPECT_TRUE(IsFirstRank());
  // Those that the process may use.
  EXPECT_GE(ThreadsPerRank(), 1);
  EXPECT_LE(ThreadsPerRank(), at::get_num_threads());
  EndJob("not printed", 3);  // Returns.
  LeaveJob();
  EXPECT_EQ(Job()->size(), 1);
}

}  // namespace
}  // namespace influence
