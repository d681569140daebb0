// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/data_reader_testing.h"

#include "ATen/ops/arange.h"
#include "cli/npz_testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

TEST(DataReaderHarnessTest, ReadsWhatIsRight) {
  DataReaderHarness harness;
  const std::string array = NpyBytes(at::arange(7, at::kDouble));
  INFLUENCE_EXPECT_OK(harness.ReadFolder(array, array));
  INFLUENCE_EXPECT_OK(
      harness.ReadArchive(ZipBytes({{.name = "x.npy", .contents = array},
                                    {.name = "y.npy", .contents = array}})));
}

TEST(DataReaderHarnessTest, ReturnsTheStatusOfWhatIsWrong) {
  DataReaderHarness harness;
  const std::string array = NpyBytes(at::arange(7, at::kDouble));
  const std::string shorter = NpyBytes(at::arange(6, at::kDouble));
  EXPECT_THAT(harness.ReadFolder(array, shorter),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("y.npy: found 6 samples, expected 7")));
  // Shorter than the run before.
  EXPECT_THAT(harness.ReadFolder("", ""),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("x.npy: found 0 bytes")));
  EXPECT_THAT(harness.ReadArchive("no zip"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("Not a zip archive")));
}

TEST(DataReaderHarnessTest, ReturnsTheFailureOfTheNarrowerDtype) {
  DataReaderHarness harness;
  const std::string array = NpyBytes(at::arange(7, at::kDouble).mul(1e300));
  EXPECT_THAT(harness.ReadFolder(array, array),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("within the range of float32")));
}

}  // namespace
}  // namespace influence
