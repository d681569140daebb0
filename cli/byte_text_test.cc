// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/byte_text.h"

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "cli/usage_error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::StartsWith;

TEST(ByteTextTest, ReadsWhatPeopleWrite) {
  const std::pair<std::string, int64_t> cases[] = {
      {"4GiB", int64_t{4} << 30}, {"1.5 MiB", 3 << 19}, {"2KiB", 2048},
      {"1TiB", int64_t{1} << 40}, {"800MB", 800000000}, {"3kB", 3000},
      {"0.5GB", 500000000},       {"1e9", 1000000000},  {"17", 17}};
  for (const auto& [text, bytes] : cases) {
    EXPECT_EQ(ParseBytes("--memory-limit", text).value(), bytes) << text;
  }
}

TEST(ByteTextTest, RefusesTheRest) {
  for (const std::string text : {"", "lots", "4 gigs", "GiB", "-1GiB", "0",
                                 "0.1", "nan", "inf", "1e30", "4GiBs"}) {
    const absl::Status status = ParseBytes("--memory-limit", text).status();
    EXPECT_THAT(status,
                StatusIs(absl::StatusCode::kInvalidArgument,
                         StartsWith("--memory-limit: found '" + text + "'")));
    EXPECT_EQ(ExitCode(status), 2);
  }
}

TEST(ByteTextTest, WritesThreeDigits) {
  EXPECT_EQ(BytesText(512), "512 bytes");
  EXPECT_EQ(BytesText(1536), "1.5 KiB");
  EXPECT_EQ(BytesText(480e6), "458 MiB");
  EXPECT_EQ(BytesText(3.0 * (int64_t{1} << 40)), "3 TiB");
}

}  // namespace
}  // namespace influence
