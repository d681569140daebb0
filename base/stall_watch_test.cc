// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/stall_watch.h"

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/progress.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;

constexpr absl::Duration kNever = absl::Hours(1);

class RecordingReporter : public ProgressReporter {
 public:
  void Begin(absl::string_view stage, int64_t total,
             absl::string_view unit) override {
    calls.push_back(absl::StrCat("begin ", stage, " ", total, " ", unit));
  }
  void Advance(int64_t steps) override {
    calls.push_back(absl::StrCat("advance ", steps));
  }
  void End() override { calls.push_back("end"); }

  std::vector<std::string> calls;
};

// What was told, and a way to wait for it.
class Texts {
 public:
  void Tell(absl::string_view text) {
    const std::lock_guard<std::mutex> lock(mutex_);
    texts_.emplace_back(text);
    changed_.notify_all();
  }

  std::vector<std::string> WaitFor(size_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return texts_.size() >= count; });
    return texts_;
  }

  std::vector<std::string> Get() { return WaitFor(0); }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> texts_;
};

class StallWatchTest : public testing::Test {
 protected:
  auto Telling() {
    return [this](absl::string_view text) { texts_.Tell(text); };
  }

  RecordingReporter reporter_;
  Texts texts_;
};

TEST_F(StallWatchTest, HandsEverythingOn) {
  {
    StallWatch watch(&reporter_, Telling(), {.first = kNever});
    ProgressStage stage(&watch, "fit", 5, "batches");
    stage.Advance(2);
  }
  EXPECT_THAT(reporter_.calls,
              ElementsAre("begin fit 5 batches", "advance 2", "end"));
  EXPECT_THAT(texts_.Get(), IsEmpty());
}

TEST_F(StallWatchTest, TellsWhereItIsStuckAtGrowingIntervals) {
  StallWatch watch(&reporter_, Telling(), {.first = absl::Milliseconds(20)});
  const absl::Time start = absl::Now();
  ProgressStage stage(&watch, "curvature", 8, "batches");
  stage.Advance(3);
  const std::vector<std::string> texts = texts_.WaitFor(3);
  // Twenty, forty and eighty milliseconds after the last step.
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(80));
  EXPECT_THAT(texts[0],
              MatchesRegex("no progress for [0-9.]+ s in "
                           "\"curvature\" \\(3 of 8 batches done\\)"));
  EXPECT_THAT(texts[2], HasSubstr("(3 of 8 batches done)"));
}

TEST_F(StallWatchTest, ProgressStartsTheTimeAnew) {
  StallWatch watch(&reporter_, Telling(), {.first = absl::Milliseconds(500)});
  ProgressStage stage(&watch, "curvature", 100, "batches");
  const absl::Time end = absl::Now() + absl::Milliseconds(1000);
  bool late = false;  // On a busy machine this thread may be stuck itself.
  for (absl::Time last = absl::Now(); absl::Now() < end; last = absl::Now()) {
    absl::SleepFor(absl::Milliseconds(10));
    late = late || absl::Now() - last > absl::Milliseconds(400);
    stage.Advance();
  }
  EXPECT_TRUE(late || texts_.Get().empty());
}

TEST_F(StallWatchTest, WatchesTheInnermostStageOnly) {
  StallWatch watch(&reporter_, Telling(), {.first = absl::Milliseconds(20)});
  ProgressStage outer(&watch, "fit", 2, "blocks");
  {
    ProgressStage inner(&watch, "eigenvectors", 4, "matrices");
    EXPECT_THAT(texts_.WaitFor(1).back(),
                HasSubstr("\"eigenvectors\" (0 of 4 matrices done)"));
  }
  const size_t told = texts_.Get().size();
  EXPECT_THAT(texts_.WaitFor(told + 1).back(),
              HasSubstr("\"fit\" (0 of 2 blocks done)"));
}

TEST_F(StallWatchTest, TellsNothingBetweenStages) {
  StallWatch watch(&reporter_, Telling(), {.first = absl::Milliseconds(20)});
  { ProgressStage stage(&watch, "fit", 1, "batches"); }
  const size_t told = texts_.Get().size();
  absl::SleepFor(absl::Milliseconds(100));
  EXPECT_EQ(texts_.Get().size(), told);
}

}  // namespace
}  // namespace influence
