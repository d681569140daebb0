// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/fit_checkpoint_folder.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/full.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

namespace fs = std::filesystem;

using ::testing::HasSubstr;

class FitCheckpointFolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = ::testing::TempDir() + "/fit_checkpoint_" +
            ::testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(path_);
  }

  std::string path_;
  std::vector<at::Tensor> arrays_ = {at::arange(6, at::kDouble).reshape({2, 3}),
                                     at::full({1}, 7, at::kLong),
                                     at::full({2, 2}, 0.1, at::kFloat)};
};

TEST_F(FitCheckpointFolderTest, FindsWhatWasKept) {
  FitCheckpointFolder first(path_);
  EXPECT_FALSE(first.Find("covariances").value().has_value());
  INFLUENCE_ASSERT_OK(first.Keep("covariances", arrays_));
  const FitCheckpointFolder second(path_);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto found, second.Find("covariances"));
  ASSERT_TRUE(found.has_value());
  ASSERT_EQ(found->size(), arrays_.size());
  for (size_t i = 0; i < arrays_.size(); ++i) {
    EXPECT_EQ((*found)[i].scalar_type(), arrays_[i].scalar_type());
    EXPECT_TRUE((*found)[i].equal(arrays_[i]));
  }
  EXPECT_FALSE(second.Find("eigenvalues").value().has_value());
}

TEST_F(FitCheckpointFolderTest, AStageThatWasBeingWrittenIsNotThere) {
  FitCheckpointFolder checkpoint(path_);
  INFLUENCE_ASSERT_OK(checkpoint.Keep("covariances", arrays_));
  fs::rename(path_ + "/covariances", path_ + "/covariances.incomplete");
  EXPECT_FALSE(checkpoint.Find("covariances").value().has_value());
}

TEST_F(FitCheckpointFolderTest, AShortStageIsNotKept) {
  int kept = 0;
  FitCheckpointFolderOptions options;
  options.on_kept = [&] { ++kept; };
  options.least_time = absl::Hours(1);
  FitCheckpointFolder brief(path_, options);
  INFLUENCE_ASSERT_OK(brief.Keep("covariances", arrays_));
  EXPECT_FALSE(fs::exists(path_));
  options.least_time = absl::ZeroDuration();
  FitCheckpointFolder(path_, options)
      .Keep("covariances", arrays_)
      .IgnoreError();
  EXPECT_EQ(kept, 1);
  EXPECT_TRUE(brief.Find("covariances").value().has_value());
}

TEST_F(FitCheckpointFolderTest, DamageIsNamed) {
  FitCheckpointFolder checkpoint(path_);
  INFLUENCE_ASSERT_OK(checkpoint.Keep("covariances", arrays_));
  fs::remove_all(path_ + "/covariances/array1");
  EXPECT_THAT(
      checkpoint.Find("covariances"),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("fit_checkpoint_")));
}

}  // namespace
}  // namespace influence
