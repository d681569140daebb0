// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/option_values.h"

#include <cstdint>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "cli/usage_error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

TEST(OptionValuesTest, AChoiceIsTakenByName) {
  int target = 0;
  INFLUENCE_EXPECT_OK(
      Choose<int>("--size", "large", {{"small", 1}, {"large", 2}}, target));
  EXPECT_EQ(target, 2);
  const absl::Status status =
      Choose<int>("--size", "huge", {{"small", 1}, {"large", 2}}, target);
  EXPECT_THAT(status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--size: found 'huge', expected small or large"));
  EXPECT_TRUE(IsUsageError(status));
  EXPECT_EQ(target, 2);
}

TEST(OptionValuesTest, IntegersHaveALeastAndAMost) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const int64_t value,
                                 ParseInteger("--k", "3", 1, 3, "1 to 3"));
  EXPECT_EQ(value, 3);
  for (const std::string text : {"0", "4", "", "1.5", "one", "-1"}) {
    const absl::Status status =
        ParseInteger("--k", text, 1, 3, "1 to 3").status();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                                 "--k: found '" + text + "', expected 1 to 3"));
    EXPECT_TRUE(IsUsageError(status));
  }
}

TEST(OptionValuesTest, NumbersAreFiniteAndBelowTheMost) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const double value,
                                 ParseNumber("--t", "1e-3", 0, 1, "[0, 1)"));
  EXPECT_EQ(value, 1e-3);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const double least,
                                 ParseNumber("--t", "0", 0, 1, "[0, 1)"));
  EXPECT_EQ(least, 0);
  for (const std::string text : {"1", "-1e-9", "nan", "x", ""}) {
    const absl::Status status =
        ParseNumber("--t", text, 0, 1, "[0, 1)").status();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                                 "--t: found '" + text + "', expected [0, 1)"));
    EXPECT_TRUE(IsUsageError(status));
  }
  EXPECT_TRUE(IsUsageError(ParseNumber("--t", "inf", 0,
                                       std::numeric_limits<double>::infinity(),
                                       "finite")
                               .status()));
}

}  // namespace
}  // namespace influence
