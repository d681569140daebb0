// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/resume_guard.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "calculators/folder_writer.h"
#include "calculators/zarr_store_writer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

RunItems Items() {
  RunItems run;
  run.items = {{"kind", "scores"},
               {"units", "raw"},
               {"method", "cg"},
               {"options", {{"regularization", "0.1"}, {"rank", "10"}}},
               {"blocks", nullptr},
               {"fingerprints", {{"model", "aaaa"}, {"train", "bbbb"}}}};
  run.paths = {{"model", "m.pt"}, {"train", "train.npz"}};
  return run;
}

TEST(ResumeGuardTest, TheSameRunPasses) {
  Json earlier = Items().items;
  INFLUENCE_EXPECT_OK(CheckSameRun("s.zarr", earlier, Items()));
  // So do attributes that are known in the end only, and null for nothing.
  earlier["seconds"] = 3;
  earlier.erase("blocks");
  INFLUENCE_EXPECT_OK(CheckSameRun("s.zarr", earlier, Items()));
}

TEST(ResumeGuardTest, NumbersMayBeWrittenInAnotherWay) {
  const auto check = [](const std::string& earlier, const std::string& now) {
    RunItems there = Items(), run = Items();
    there.items["options"]["regularization"] = earlier;
    run.items["options"]["regularization"] = now;
    return CheckSameRun("s.zarr", there.items, run);
  };
  INFLUENCE_EXPECT_OK(check("1e-3", "0.001"));
  INFLUENCE_EXPECT_OK(check("fc1=1e-3,fc2=1", "fc1=0.001,fc2=1.0"));
  for (const auto& [earlier, now] :
       std::vector<std::pair<std::string, std::string>>{
           {"1e-3", "0.0010001"},
           {"1e-3", "auto"},
           {"fc1=1,fc2=2", "fc2=1,fc1=2"},
           {"fc1=1,fc2=2", "fc1=1"},
           {"1", "fc1=1"}}) {
    EXPECT_THAT(
        check(earlier, now),
        StatusIs(absl::StatusCode::kFailedPrecondition,
                 StartsWith(absl::StrCat("--regularization: found ", now,
                                         ", expected ", earlier))));
  }
}

TEST(ResumeGuardTest, WhatDiffersIsNamed) {
  const auto expect = [](const RunItems& run, const std::string& message) {
    EXPECT_THAT(CheckSameRun("s.zarr.incomplete", Items().items, run),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         AllOf(StartsWith(message), HasSubstr("s.zarr"))));
  };
  RunItems run = Items();
  run.items["kind"] = "self";
  expect(run, "s.zarr.incomplete: found what makes scores, expected self");
  run = Items();
  run.items["fingerprints"]["train"] = "cccc";
  expect(run,
         "train.npz: found other contents (fingerprint cccc), expected "
         "those that s.zarr.incomplete was begun with (bbbb)");
  run = Items();
  run.items["fingerprints"]["factors"] = "dddd";
  expect(run, "--factors: found other contents");
  run = Items();
  run.items["units"] = "loss_change";
  expect(run, "--units: found loss_change, expected raw, with which");
  run = Items();
  run.items["options"]["regularization"] = "0.2";
  expect(run, "--regularization: found 0.2, expected 0.1, with which");
  run = Items();
  run.items["options"].erase("rank");
  expect(run, "--rank: found nothing, expected 10");
  run = Items();
  run.items["options"]["low_rank_inverse"] = "exact";
  expect(run, "--low-rank-inverse: found exact, expected nothing");
  run = Items();
  run.items["blocks"] = {"a", "b"};
  expect(run, "--by-block: found [\"a\",\"b\"], expected nothing");
}

class AgreeOnPlanTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = absl::StrCat(
        ::testing::TempDir(), "/agree_on_plan_",
        ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(path_ + ".incomplete");
  }

  absl::StatusOr<std::unique_ptr<ZarrStoreWriter>> Open() const {
    FolderWriterOptions options;
    options.unfinished = UnfinishedRun::kContinue;
    options.shared = true;
    return ZarrStoreWriter::Create(path_, options);
  }

  // Plans batches of `size`.
  static absl::StatusOr<Json> Agree(ZarrStoreWriter& store, int size,
                                    const RunItems& run = Items()) {
    return AgreeOnPlan(store, run, [&]() -> absl::StatusOr<Json> {
      return Json({{"batch_size", size}});
    });
  }

  std::string path_;
};

TEST_F(AgreeOnPlanTest, TheFirstPlanHoldsForAll) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto store, Open());
  EXPECT_EQ(Agree(*store, 3).value()["batch_size"], 3);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto another, Open());
  EXPECT_EQ(Agree(*another, 5).value()["batch_size"], 3);
}

TEST_F(AgreeOnPlanTest, TheOneThatComesSecondTakesThePlanOfTheFirst) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto store, Open());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto another, Open());
  const absl::StatusOr<Json> plan =
      AgreeOnPlan(*store, Items(), [&]() -> absl::StatusOr<Json> {
        // While this one still plans.
        EXPECT_EQ(Agree(*another, 5).value()["batch_size"], 5);
        return Json({{"batch_size", 3}});
      });
  INFLUENCE_ASSERT_OK(plan);
  EXPECT_EQ((*plan)["batch_size"], 5);
}

TEST_F(AgreeOnPlanTest, AnotherRunIsRefused) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto store, Open());
  INFLUENCE_ASSERT_OK(Agree(*store, 3));
  RunItems other = Items();
  other.items["method"] = "lissa";
  EXPECT_THAT(Agree(*store, 3, other),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       StartsWith("--method: found lissa, expected cg")));
}

TEST_F(AgreeOnPlanTest, ADamagedNoteIsNamed) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto store, Open());
  INFLUENCE_ASSERT_OK(Agree(*store, 3));
  std::ofstream(path_ + ".incomplete/.run/run.json") << "{\"items\": 3";
  EXPECT_THAT(Agree(*store, 3), StatusIs(absl::StatusCode::kDataLoss,
                                         HasSubstr(".run/run.json")));
}

TEST_F(AgreeOnPlanTest, AnErrorOfPlanningIsPassedOn) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto store, Open());
  EXPECT_THAT(AgreeOnPlan(*store, Items(),
                          []() -> absl::StatusOr<Json> {
                            return absl::ResourceExhaustedError("too large");
                          }),
              StatusIs(absl::StatusCode::kResourceExhausted, "too large"));
  EXPECT_EQ(Agree(*store, 3).value()["batch_size"], 3);
}

}  // namespace
}  // namespace influence
