// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// GoogleTest matchers for absl::Status and absl::StatusOr. On purpose there is
// no "is not OK": a test names the code, and the text, it expects.
//
//   EXPECT_THAT(status, IsOk());
//   EXPECT_THAT(result, StatusIs(absl::StatusCode::kInvalidArgument,
//                                HasSubstr("labels: found 12")));
//   INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor g, provider->FlatGrads(batch));
#ifndef INFLUENCE_TESTS_SUPPORT_STATUS_MATCHERS_H_
#define INFLUENCE_TESTS_SUPPORT_STATUS_MATCHERS_H_

#include <ostream>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace influence {
namespace testing_internal {

inline const absl::Status& GetStatus(const absl::Status& status) {
  return status;
}

template <typename T>
const absl::Status& GetStatus(const absl::StatusOr<T>& result) {
  return result.status();
}

}  // namespace testing_internal

// Matches an OK Status or StatusOr.
MATCHER(IsOk, "is OK") {
  const absl::Status& status = testing_internal::GetStatus(arg);
  if (!status.ok()) *result_listener << "which is " << status.ToString();
  return status.ok();
}

// Matches a Status or StatusOr with the given code and a message that matches
// `message`.
MATCHER_P2(StatusIs, code, message,
           std::string(negation ? "is not a " : "is a ") +
               absl::StatusCodeToString(code) + " status whose message " +
               ::testing::DescribeMatcher<std::string>(message, negation)) {
  const absl::Status& status = testing_internal::GetStatus(arg);
  *result_listener << "which is " << status.ToString();
  return status.code() == code &&
         ::testing::Value(std::string(status.message()), message);
}

}  // namespace influence

#define INFLUENCE_ASSERT_OK(expr) ASSERT_THAT((expr), ::influence::IsOk())
#define INFLUENCE_EXPECT_OK(expr) EXPECT_THAT((expr), ::influence::IsOk())

#define INFLUENCE_ASSERT_OK_AND_ASSIGN(lhs, expr) \
  INFLUENCE_ASSERT_OK_AND_ASSIGN_IMPL(            \
      INFLUENCE_MACRO_CONCAT(influence_status_or_, __LINE__), lhs, expr)

#define INFLUENCE_ASSERT_OK_AND_ASSIGN_IMPL(status_or, lhs, expr) \
  auto status_or = (expr);                                        \
  ASSERT_THAT(status_or, ::influence::IsOk());                    \
  lhs = *std::move(status_or)

#endif  // INFLUENCE_TESTS_SUPPORT_STATUS_MATCHERS_H_
