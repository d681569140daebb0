// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/version.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

TEST(VersionTest, NamesTheProgramAndLibTorch) {
  EXPECT_THAT(VersionText(), ::testing::MatchesRegex(
                                 "influence [0-9]+\\.[0-9]+\\.[0-9]+ "
                                 "\\(LibTorch [0-9]+\\.[0-9]+\\.[0-9]+\\)"));
}

}  // namespace
}  // namespace influence
