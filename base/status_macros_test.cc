// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/status_macros.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

absl::Status Counted(absl::Status status, int* calls) {
  ++*calls;
  return status;
}

absl::Status ReturnIfError(absl::Status status, int* calls, bool* reached) {
  INFLUENCE_RETURN_IF_ERROR(Counted(std::move(status), calls));
  *reached = true;
  return absl::OkStatus();
}

absl::StatusOr<int> Half(int value) {
  if (value % 2 != 0) return absl::InvalidArgumentError("value: found odd");
  return value / 2;
}

absl::StatusOr<int> Quarter(int value) {
  INFLUENCE_ASSIGN_OR_RETURN(const int half, Half(value));
  INFLUENCE_ASSIGN_OR_RETURN(int quarter, Half(half));
  return quarter;
}

TEST(StatusMacrosTest, ReturnIfErrorGoesOnWhenOk) {
  int calls = 0;
  bool reached = false;
  INFLUENCE_EXPECT_OK(ReturnIfError(absl::OkStatus(), &calls, &reached));
  EXPECT_TRUE(reached);
  EXPECT_EQ(calls, 1);
}

TEST(StatusMacrosTest, ReturnIfErrorReturnsTheStatusAndEvaluatesOnce) {
  int calls = 0;
  bool reached = false;
  EXPECT_THAT(ReturnIfError(absl::NotFoundError("no file"), &calls, &reached),
              StatusIs(absl::StatusCode::kNotFound, std::string("no file")));
  EXPECT_FALSE(reached);
  EXPECT_EQ(calls, 1);
}

TEST(StatusMacrosTest, ReturnIfErrorIsOneStatement) {
  const auto function = [](bool check) -> absl::Status {
    if (check)
      INFLUENCE_RETURN_IF_ERROR(absl::NotFoundError("checked"));
    else
      INFLUENCE_RETURN_IF_ERROR(absl::AbortedError("unchecked"));
    return absl::OkStatus();
  };
  EXPECT_THAT(function(true),
              StatusIs(absl::StatusCode::kNotFound, std::string("checked")));
  EXPECT_THAT(function(false),
              StatusIs(absl::StatusCode::kAborted, std::string("unchecked")));
}

TEST(StatusMacrosTest, AssignOrReturnPassesValuesAndErrors) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const int quarter, Quarter(12));
  EXPECT_EQ(quarter, 3);
  EXPECT_THAT(Quarter(6), StatusIs(absl::StatusCode::kInvalidArgument,
                                   std::string("value: found odd")));
}

TEST(StatusMacrosTest, AssignOrReturnMovesAndAssignsToExistingVariables) {
  const auto function = []() -> absl::StatusOr<int> {
    std::unique_ptr<int> value;
    INFLUENCE_ASSIGN_OR_RETURN(
        value, absl::StatusOr<std::unique_ptr<int>>(std::make_unique<int>(5)));
    return *value;
  };
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const int value, function());
  EXPECT_EQ(value, 5);
}

TEST(StatusMacrosDeathTest, CheckNamesTheConditionAndThePlace) {
  INFLUENCE_CHECK(1 + 1 == 2);
  EXPECT_DEATH(INFLUENCE_CHECK(1 + 1 == 3),
               "status_macros_test.cc:[0-9]+: check failed: 1 \\+ 1 == 3");
}

}  // namespace
}  // namespace influence
