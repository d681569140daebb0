// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/usage_error.h"

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

TEST(UsageErrorTest, SaysWhatWasFoundAndExpected) {
  const absl::Status status =
      UsageError("--method", "'foo'", "identity or direct");
  EXPECT_THAT(status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--method: found 'foo', expected identity or direct"));
  EXPECT_TRUE(IsUsageError(status));
}

TEST(UsageErrorTest, MarksAnotherStatus) {
  const absl::Status plain = absl::NotFoundError("block 'fc9': found none");
  EXPECT_FALSE(IsUsageError(plain));
  const absl::Status marked = AsUsageError("--regularization", plain);
  EXPECT_TRUE(IsUsageError(marked));
  EXPECT_EQ(marked.message(), "--regularization: block 'fc9': found none");
  EXPECT_EQ(AsUsageError("--regularization",
                         absl::InvalidArgumentError("regularization: found x"))
                .message(),
            "--regularization: found x");
}

TEST(UsageErrorTest, DecidesTheExitCode) {
  EXPECT_EQ(ExitCode(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCode(absl::InvalidArgumentError("y: found 12")), 1);
  EXPECT_EQ(ExitCode(UsageError("--out", "nothing", "a file")), 2);
}

TEST(UsageErrorTest, TheErrorIsOneLine) {
  EXPECT_EQ(ErrorLine(absl::InternalError("a\nb\tc\r")),
            "influence: error: a b c ");
}

}  // namespace
}  // namespace influence
