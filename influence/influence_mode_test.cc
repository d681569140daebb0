// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/influence_mode.h"

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(InfluenceModeTest, NamesAreReadBack) {
  for (const InfluenceMode mode :
       {InfluenceMode::kUp, InfluenceMode::kPerturbation}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(InfluenceMode parsed,
                                   ParseInfluenceMode(InfluenceModeName(mode)));
    EXPECT_EQ(parsed, mode);
  }
}

TEST(InfluenceModeTest, AnotherNameIsRefusedWithTheList) {
  EXPECT_THAT(ParseInfluenceMode("down"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("\"down\""), HasSubstr("up"),
                             HasSubstr("perturbation"))));
}

}  // namespace
}  // namespace influence
