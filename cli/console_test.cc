// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/console.h"

#include <sstream>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/progress.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

TEST(ConsoleTest, KeepsResultsAndRemarksApart) {
  std::ostringstream out, err;
  Console console(&out, &err, {}, /*quiet=*/false);
  console.Say("reading");
  INFLUENCE_EXPECT_OK(console.Print("{}\n"));
  ASSERT_NE(console.Progress(), nullptr);
  EXPECT_EQ(out.str(), "{}\n");
  EXPECT_EQ(err.str(), "influence: reading\n");
}

TEST(ConsoleTest, QuietLeavesTheResultOnly) {
  std::ostringstream out, err;
  Console console(&out, &err, {}, /*quiet=*/true);
  console.Say("reading");
  INFLUENCE_EXPECT_OK(console.Print("{}\n"));
  EXPECT_EQ(console.Progress(), nullptr);
  EXPECT_EQ(out.str(), "{}\n");
  EXPECT_EQ(err.str(), "");
}

TEST(ConsoleTest, TellsOfAStageThatIsStuck) {
  for (const bool is_terminal : {false, true}) {
    std::ostringstream out, err;
    {
      Console console(&out, &err, {.is_terminal = is_terminal},
                      /*quiet=*/false, {.first = absl::Milliseconds(20)});
      ProgressStage stage(console.Progress(), "curvature", 8, "batches");
      absl::SleepFor(absl::Milliseconds(300));
    }
    EXPECT_THAT(err.str(), HasSubstr("influence: no progress for "));
    EXPECT_THAT(err.str(),
                HasSubstr(" s in \"curvature\" (0 of 8 batches done)\n"));
    EXPECT_EQ(out.str(), "");
  }
}

TEST(ConsoleTest, NoticesThatTheResultCannotBeWritten) {
  std::ostringstream out, err;
  out.setstate(std::ios::badbit);
  Console console(&out, &err, {}, /*quiet=*/true);
  EXPECT_THAT(console.Print("{}\n"), StatusIs(absl::StatusCode::kUnavailable,
                                              HasSubstr("standard output")));
}

}  // namespace
}  // namespace influence
