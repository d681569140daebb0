// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/terminal_progress.h"

#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::Not;
using ::testing::SizeIs;

class TerminalProgressTest : public ::testing::Test {
 protected:
  TerminalProgress Make(bool is_terminal, int columns = 80) {
    TerminalProgressOptions options;
    options.is_terminal = is_terminal;
    options.columns = columns;
    options.clock = [this] { return now_; };
    return TerminalProgress(&out_, options);
  }

  std::ostringstream out_;
  absl::Time now_ = absl::UnixEpoch();
};

TEST_F(TerminalProgressTest, DrawsABarWithRateAndTimeLeft) {
  TerminalProgress progress = Make(true);
  progress.Begin("fit", 40, "batches");
  now_ += absl::Seconds(2);
  progress.Advance(10);
  const std::vector<std::string> drawn = absl::StrSplit(out_.str(), '\r');
  EXPECT_THAT(drawn.back(), HasSubstr("influence: fit [#"));
  EXPECT_THAT(drawn.back(), HasSubstr("25 %, 5 batches/s, 6.0 s left"));
}

TEST_F(TerminalProgressTest, RedrawsAtMostTenTimesASecond) {
  TerminalProgress progress = Make(true);
  progress.Begin("fit", 1000, "batches");
  for (int i = 0; i < 1000; ++i) {
    now_ += absl::Milliseconds(1);
    progress.Advance(1);
  }
  const std::vector<std::string> drawn = absl::StrSplit(out_.str(), '\r');
  EXPECT_THAT(drawn, SizeIs(Le(12)));
}

TEST_F(TerminalProgressTest, ABarFitsIntoItsTerminal) {
  for (int columns : {40, 60, 200}) {
    out_.str("");
    TerminalProgress progress = Make(true, columns);
    progress.Begin("influences of a long name", 123456, "batches");
    for (int i = 0; i < 3; ++i) {
      now_ += absl::Seconds(7777);
      progress.Advance(41152);
    }
    const std::vector<std::string> drawn = absl::StrSplit(out_.str(), '\r');
    for (const std::string& line : drawn) {
      EXPECT_LT(line.size(), columns) << line;
    }
  }
}

TEST_F(TerminalProgressTest, TheEndReplacesTheBarByOneLine) {
  TerminalProgress progress = Make(true);
  progress.Begin("fit", 2, "batches");
  progress.Advance(2);
  now_ += absl::Seconds(3);
  progress.End();
  const std::vector<std::string> drawn = absl::StrSplit(out_.str(), '\r');
  EXPECT_EQ(drawn.back(), "influence: fit: 2 batches in 3.0 s\n");
}

TEST_F(TerminalProgressTest, APipeGetsAPlainLineNowAndThen) {
  TerminalProgress progress = Make(false);
  progress.Begin("scores", 100, "tiles");
  for (int i = 0; i < 50; ++i) {
    now_ += absl::Seconds(1);
    progress.Advance(2);
  }
  progress.End();
  EXPECT_THAT(out_.str(), Not(HasSubstr("\r")));
  const std::vector<std::string> lines = absl::StrSplit(out_.str(), '\n');
  // Every ten seconds, the closing line and the end of the text.
  ASSERT_THAT(lines, SizeIs(7));
  EXPECT_EQ(lines[0],
            "influence: scores: 20 of 100 tiles, 20 %, 2 tiles/s, 40 s left");
  EXPECT_EQ(lines[5], "influence: scores: 100 tiles in 50 s");
}

TEST_F(TerminalProgressTest, AStageThatFailedSaysSo) {
  TerminalProgress progress = Make(false);
  progress.Begin("fit", 4, "batches");
  progress.Advance(1);
  progress.End();
  EXPECT_EQ(out_.str(), "influence: fit: stopped after 1 batches in 0.0 s\n");
}

TEST(DurationTextTest, IsReadable) {
  EXPECT_EQ(DurationText(absl::Milliseconds(40)), "0.0 s");
  EXPECT_EQ(DurationText(absl::Seconds(4.24)), "4.2 s");
  EXPECT_EQ(DurationText(absl::Seconds(42.4)), "42 s");
  EXPECT_EQ(DurationText(absl::Seconds(200)), "3 min 20 s");
  EXPECT_EQ(DurationText(absl::Seconds(7500)), "2 h 5 min");
}

}  // namespace
}  // namespace influence
