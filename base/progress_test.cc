// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/progress.h"

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

using testing::ElementsAre;

class RecordingReporter : public ProgressReporter {
 public:
  void Begin(absl::string_view stage, int64_t total,
             absl::string_view unit) override {
    events.push_back(absl::StrCat("begin ", stage, " ", total, " ", unit));
  }
  void Advance(int64_t steps) override {
    events.push_back(absl::StrCat("advance ", steps));
  }
  void End() override { events.push_back("end"); }

  std::vector<std::string> events;
};

TEST(ProgressTest, AStageIsBracketed) {
  RecordingReporter reporter;
  {
    ProgressStage stage(&reporter, "fit", 3, "batches");
    stage.Advance();
    stage.Advance(2);
  }
  EXPECT_THAT(reporter.events, ElementsAre("begin fit 3 batches", "advance 1",
                                           "advance 2", "end"));
}

TEST(ProgressTest, AStageEndsAlsoWhenLeftEarly) {
  RecordingReporter reporter;
  const auto fail = [&reporter] {
    ProgressStage stage(&reporter, "scores", 2, "tiles");
    return false;
  };
  EXPECT_FALSE(fail());
  EXPECT_THAT(reporter.events, ElementsAre("begin scores 2 tiles", "end"));
}

TEST(ProgressTest, NoReporterIsAllowed) {
  RecordingReporter reporter;
  for (ProgressReporter* given : {static_cast<ProgressReporter*>(nullptr),
                                  static_cast<ProgressReporter*>(&reporter)}) {
    ProgressStage stage(given, "fit", 3, "batches");
    stage.Advance();
  }
  EXPECT_THAT(reporter.events,
              ElementsAre("begin fit 3 batches", "advance 1", "end"));
}

}  // namespace
}  // namespace influence
