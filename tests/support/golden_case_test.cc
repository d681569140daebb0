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

TEST(GoldenCaseTest, TheManifestOfTheMethodsAgreesWithTheArrays) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::vector<GoldenMethods> all,
                                 LoadGoldenMethods());
  const auto found =
      std::find_if(all.begin(), all.end(), [](const GoldenMethods& methods) {
        return methods.golden.name == "two_inputs";
      });
  ASSERT_NE(found, all.end());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const GoldenArrays arrays,
                                 LoadGoldenArrays(*found));
  const auto result = std::find_if(
      found->results.begin(), found->results.end(),
      [](const GoldenResult& r) { return r.array == "kfac_exact_diagonal"; });
  ASSERT_NE(result, found->results.end());
  EXPECT_EQ(result->method, "kfac");
  EXPECT_EQ(result->fisher, "exact");
  EXPECT_EQ(result->uncovered, "diagonal");
  EXPECT_EQ(result->structure, "");
  EXPECT_EQ(result->regularization, found->golden.regularization);
  EXPECT_EQ(arrays.at(result->array).sizes(),
            at::IntArrayRef({found->golden.num_test, found->golden.num_train}));
  ASSERT_EQ(result->perturbations.count(1), 1u);
  EXPECT_EQ(
      arrays.at(result->perturbations.at(1)).sizes(),
      at::IntArrayRef({found->golden.num_test, found->golden.num_train, 1, 3}));
  EXPECT_TRUE(std::any_of(
      found->results.begin(), found->results.end(),
      [](const GoldenResult& r) { return !r.regularization.has_value(); }));
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
  std::ofstream(folder / "cases.json") << "{\"cases\": []}";
  EXPECT_THAT(LoadGoldenMethods(folder.string()),
              StatusIs(absl::StatusCode::kNotFound,
                       testing::HasSubstr("methods.json")));
  std::ofstream(folder / "methods.json") << "{\"cases\": [{\"case\": \"a\"}]}";
  EXPECT_THAT(LoadGoldenMethods(folder.string()),
              StatusIs(absl::StatusCode::kNotFound,
                       testing::HasSubstr("no case called a")));
  GoldenCase golden;
  golden.data_path = (folder / "none.npz").string();
  EXPECT_THAT(
      LoadGoldenArrays(golden),
      StatusIs(absl::StatusCode::kNotFound, testing::HasSubstr("none.npz")));
}

}  // namespace
}  // namespace influence
