// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "tests/support/golden_case.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gradients/batch.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

TEST(GoldenCaseTest, TheManifestAgreesWithTheArrays) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::vector<GoldenCase> cases,
                                 LoadGoldenCases());
  const auto found = std::find_if(
      cases.begin(), cases.end(),
      [](const GoldenCase& golden) { return golden.name == "two_inputs"; });
  ASSERT_NE(found, cases.end());
  EXPECT_TRUE(found->RunsHere());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const GoldenArrays arrays,
                                 LoadGoldenArrays(*found));
  EXPECT_EQ(arrays.size(), found->arrays.size());
  const Batch train = GoldenTrainBatch(*found, arrays);
  INFLUENCE_EXPECT_OK(ValidateBatch(train));
  EXPECT_EQ(train.x.size(), 2u);
  EXPECT_EQ(train.size(), found->num_train);
  const Batch test = GoldenTestBatch(*found, arrays);
  INFLUENCE_EXPECT_OK(ValidateBatch(test));
  EXPECT_EQ(test.size(), found->num_test);
  EXPECT_EQ(arrays.at("grads").sizes(),
            at::IntArrayRef({found->num_train, found->num_parameters}));
  int64_t num_parameters = 0;
  for (const GoldenParameter& parameter : found->parameters) {
    int64_t size = 1;
    for (const int64_t length : parameter.shape) size *= length;
    num_parameters += size;
  }
  EXPECT_EQ(num_parameters, found->num_parameters);
}

TEST(GoldenCaseTest, ACaseOfALaterLibTorchDoesNotRunHere) {
  GoldenCase golden;
  golden.min_torch = "1.13";
  EXPECT_TRUE(golden.RunsHere());
  golden.min_torch = "99.0";
  EXPECT_FALSE(golden.RunsHere());
}

TEST(GoldenCaseTest, WhatIsMissingOrBrokenIsAnError) {
  EXPECT_THAT(LoadGoldenCases("tests/nowhere"),
              StatusIs(absl::StatusCode::kNotFound,
                       testing::HasSubstr("tests/nowhere/cases.json")));
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / "golden_case_test";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "cases.json") << "{\"cases\": [{}]}";
  EXPECT_THAT(LoadGoldenCases(folder.string()),
              StatusIs(absl::StatusCode::kInternal,
                       testing::HasSubstr("key 'name' not found")));
  GoldenCase golden;
  golden.data_path = (folder / "none.npz").string();
  EXPECT_THAT(
      LoadGoldenArrays(golden),
      StatusIs(absl::StatusCode::kNotFound, testing::HasSubstr("none.npz")));
}

}  // namespace
}  // namespace influence
