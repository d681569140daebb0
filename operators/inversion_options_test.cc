// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/inversion_options.h"

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(InversionOptionsTest, ReadsWhatIsGivenAndKeepsDefaults) {
  const InversionOptions options = {
      {"rank", 10}, {"tolerance", 1e-6}, {"form", "exact"}, {"block", true}};
  InversionOptionReader reader(&options);
  int64_t rank = 1;
  double tolerance = 1;
  std::string form;
  bool block = false;
  int64_t seed = 7;
  EXPECT_TRUE(reader.Read("rank", &rank));
  EXPECT_TRUE(reader.Read("tolerance", &tolerance));
  EXPECT_TRUE(reader.Read("form", &form));
  EXPECT_TRUE(reader.Read("block", &block));
  EXPECT_FALSE(reader.Read("seed", &seed));
  EXPECT_THAT(reader.Finish(), IsOk());
  EXPECT_EQ(rank, 10);
  EXPECT_EQ(tolerance, 1e-6);
  EXPECT_EQ(form, "exact");
  EXPECT_TRUE(block);
  EXPECT_EQ(seed, 7);
}

TEST(InversionOptionsTest, AWholeNumberIsADouble) {
  const InversionOptions options = {{"scale", 3}};
  InversionOptionReader reader(&options);
  double scale = 0;
  EXPECT_TRUE(reader.Read("scale", &scale));
  EXPECT_THAT(reader.Finish(), IsOk());
  EXPECT_EQ(scale, 3.0);
}

TEST(InversionOptionsTest, RefusesValuesOfAnotherType) {
  const InversionOptions options = {{"rank", 1.5}};
  const auto finish = [&](auto value) {
    InversionOptionReader reader(&options);
    reader.Read("rank", &value);
    return reader.Finish();
  };
  EXPECT_THAT(finish(int64_t{1}),
              StatusIs(kInvalid,
                       "options: found rank = 1.5, expected a whole "
                       "number"));
  EXPECT_THAT(finish(std::string()),
              StatusIs(kInvalid, HasSubstr("expected a text")));
  EXPECT_THAT(finish(false),
              StatusIs(kInvalid, HasSubstr("expected true or false")));
  const InversionOptions text = {{"rank", "many"}};
  InversionOptionReader reader(&text);
  double value = 0;
  reader.Read("rank", &value);
  EXPECT_THAT(reader.Finish(), StatusIs(kInvalid, HasSubstr("\"many\"")));
}

TEST(InversionOptionsTest, RefusesWhatNobodyRead) {
  const InversionOptions options = {{"rank", 10}, {"tolrance", 1e-6}};
  InversionOptionReader reader(&options);
  EXPECT_THAT(reader.Finish(),
              StatusIs(kInvalid, "options: found rank = 10, expected none"));
  int64_t rank = 1;
  double tolerance = 1;
  reader.Read("rank", &rank);
  reader.Read("tolerance", &tolerance);
  EXPECT_THAT(reader.Finish(),
              StatusIs(kInvalid, AllOf(HasSubstr("tolrance = 1e-06"),
                                       HasSubstr("one of rank, tolerance"))));
}

}  // namespace
}  // namespace influence
