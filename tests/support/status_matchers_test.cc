// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "tests/support/status_matchers.h"

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest-spi.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

using testing::HasSubstr;
using testing::Not;

absl::Status Bad() {
  return absl::InvalidArgumentError("labels: found value 12");
}

TEST(StatusMatchersTest, IsOkMatchesStatusAndStatusOr) {
  EXPECT_THAT(absl::OkStatus(), IsOk());
  EXPECT_THAT(absl::StatusOr<int>(3), IsOk());
  EXPECT_THAT(Bad(), Not(IsOk()));
  EXPECT_THAT(absl::StatusOr<int>(Bad()), Not(IsOk()));
}

TEST(StatusMatchersTest, IsOkExplainsAFailure) {
  testing::StringMatchResultListener listener;
  const testing::Matcher<absl::Status> matcher = IsOk();
  EXPECT_FALSE(matcher.MatchAndExplain(Bad(), &listener));
  EXPECT_EQ(listener.str(),
            "which is INVALID_ARGUMENT: labels: found value 12");
}

TEST(StatusMatchersTest, StatusIsWantsCodeAndMessage) {
  EXPECT_THAT(Bad(), StatusIs(absl::StatusCode::kInvalidArgument,
                              HasSubstr("value 12")));
  EXPECT_THAT(absl::StatusOr<int>(Bad()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       std::string("labels: found value 12")));
  EXPECT_THAT(
      Bad(), Not(StatusIs(absl::StatusCode::kInternal, HasSubstr("value 12"))));
  EXPECT_THAT(Bad(), Not(StatusIs(absl::StatusCode::kInvalidArgument,
                                  HasSubstr("value 13"))));
  EXPECT_THAT(absl::OkStatus(),
              Not(StatusIs(absl::StatusCode::kInternal, HasSubstr(""))));
}

TEST(StatusMatchersTest, StatusIsDescribesAndExplains) {
  const testing::Matcher<absl::Status> matcher =
      StatusIs(absl::StatusCode::kInternal, HasSubstr("value 12"));
  EXPECT_EQ(testing::DescribeMatcher<absl::Status>(matcher),
            "is a INTERNAL status whose message has substring \"value 12\"");
  testing::StringMatchResultListener listener;
  EXPECT_FALSE(matcher.MatchAndExplain(Bad(), &listener));
  EXPECT_EQ(listener.str(),
            "which is INVALID_ARGUMENT: labels: found value 12");
}

TEST(StatusMatchersTest, AssertOkAndAssignMovesTheValue) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<int> value,
      absl::StatusOr<std::unique_ptr<int>>(std::make_unique<int>(7)));
  EXPECT_EQ(*value, 7);
}

// EXPECT_FATAL_FAILURE wants code that uses no local variable.
void AssignFromFailure() {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(int value, absl::StatusOr<int>(Bad()));
  ADD_FAILURE() << "went on with " << value;
}

TEST(StatusMatchersTest, AssertOkAndAssignEndsTheTestOnFailure) {
  EXPECT_FATAL_FAILURE(AssignFromFailure(), "labels: found value 12");
}

TEST(StatusMatchersTest, ExpectOkReportsTheStatus) {
  INFLUENCE_EXPECT_OK(absl::OkStatus());
  INFLUENCE_ASSERT_OK(absl::OkStatus());
  EXPECT_NONFATAL_FAILURE(INFLUENCE_EXPECT_OK(Bad()), "labels: found value 12");
  EXPECT_FATAL_FAILURE(INFLUENCE_ASSERT_OK(Bad()), "labels: found value 12");
}

}  // namespace
}  // namespace influence
