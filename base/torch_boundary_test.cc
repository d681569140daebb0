// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/torch_boundary.h"

#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>

#include "ATen/core/Tensor.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/ones.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "c10/util/Exception.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST(TorchBoundaryTest, PassesValuesAndStatusesThrough) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const double sum, CatchTorch("sum", []() -> absl::StatusOr<double> {
        return at::ones({3}).sum().item<double>();
      }));
  EXPECT_EQ(sum, 3);
  INFLUENCE_EXPECT_OK(CatchTorch("nothing", [] { return absl::OkStatus(); }));
  EXPECT_THAT(
      CatchTorch("range", [] { return absl::OutOfRangeError("its own text"); }),
      StatusIs(absl::StatusCode::kOutOfRange, std::string("its own text")));
}

TEST(TorchBoundaryTest, TurnsALibTorchErrorIntoInternalWithItsFirstLine) {
  const absl::StatusOr<at::Tensor> result =
      CatchTorch("product", []() -> absl::StatusOr<at::Tensor> {
        return at::ones({2, 3}).mm(at::ones({2, 3}));
      });
  EXPECT_THAT(
      result,
      StatusIs(absl::StatusCode::kInternal,
               AllOf(StartsWith("product: "),
                     HasSubstr("mat1 and mat2 shapes cannot be multiplied"),
                     Not(HasSubstr("\n")), Not(HasSubstr("frame #")))));
}

TEST(TorchBoundaryTest, FindsTheCauseBelowATorchScriptListing) {
  EXPECT_THAT(CatchTorch("forward",
                         []() -> absl::Status {
                           TORCH_CHECK(false,
                                       "The following operation failed:\n"
                                       "  File \"net.py\", line 3\n"
                                       "RuntimeError: sizes differ\nmore");
                         }),
              StatusIs(absl::StatusCode::kInternal,
                       std::string("forward: sizes differ")));
}

TEST(TorchBoundaryTest, LackOfMemoryIsResourceExhausted) {
  EXPECT_THAT(
      CatchTorch("work", []() -> absl::Status { throw std::bad_alloc(); }),
      StatusIs(absl::StatusCode::kResourceExhausted,
               std::string("work: out of memory")));
  EXPECT_THAT(
      CatchTorch("work",
                 []() -> absl::StatusOr<at::Tensor> {
                   // 2^60 bytes: more than an address space holds.
                   return at::empty({int64_t{1} << 57}, at::kDouble);
                 }),
      StatusIs(absl::StatusCode::kResourceExhausted, StartsWith("work: ")));
}

TEST(TorchBoundaryTest, OtherExceptionsAreInternal) {
  EXPECT_THAT(
      CatchTorch("work",
                 []() -> absl::Status {
                   throw std::runtime_error("\n  first\nsecond");
                 }),
      StatusIs(absl::StatusCode::kInternal, std::string("work: first")));
  EXPECT_THAT(
      CatchTorch("work",
                 []() -> absl::Status { throw std::runtime_error(""); }),
      StatusIs(absl::StatusCode::kInternal,
               std::string("work: unknown error")));
  EXPECT_THAT(CatchTorch("work", []() -> absl::Status { throw 3; }),
              StatusIs(absl::StatusCode::kInternal,
                       std::string("work: unknown exception")));
}

}  // namespace
}  // namespace influence
