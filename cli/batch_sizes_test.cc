// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/batch_sizes.h"

#include <cstdint>
#include <optional>

#include "gtest/gtest.h"

namespace influence {
namespace {

BatchProblem Digits() {
  return {.num_parameters = 2410,
          .item_size = 4,
          .num_train = 1500,
          .num_queries = 297,
          .values_per_input = 64};
}

TEST(BatchSizesTest, SmallProblemsTakeOnePassInLargeBatches) {
  const BatchSizes sizes = ChooseBatchSizes(Digits(), std::nullopt);
  EXPECT_EQ(sizes.train, 1024);
  EXPECT_EQ(sizes.queries, 297);
}

TEST(BatchSizesTest, NeverMoreThanThereAre) {
  BatchProblem problem = Digits();
  problem.num_train = 7;
  problem.num_queries = 1;
  const BatchSizes sizes = ChooseBatchSizes(problem, std::nullopt);
  EXPECT_EQ(sizes.train, 7);
  EXPECT_EQ(sizes.queries, 1);
  EXPECT_EQ(ChooseBatchSizes(problem, 1000000).train, 7);
}

TEST(BatchSizesTest, ARequestBindsTheTrainingBatch) {
  const BatchSizes sizes = ChooseBatchSizes(Digits(), 32);
  EXPECT_EQ(sizes.train, 32);
  EXPECT_EQ(sizes.queries, 297);
}

TEST(BatchSizesTest, KeepsItsBounds) {
  for (const int64_t parameters : {1, 1000, 535818, 30000000}) {
    for (const int64_t item_size : {4, 8}) {
      for (const int64_t values : {1, 784, 150528}) {
        const BatchProblem problem = {.num_parameters = parameters,
                                      .item_size = item_size,
                                      .num_train = 1000000,
                                      .num_queries = 100000,
                                      .values_per_input = values,
                                      .values_per_score = values};
        const BatchSizes sizes = ChooseBatchSizes(problem, std::nullopt);
        EXPECT_LE(sizes.train * parameters * item_size, kMaxGradientBytes);
        EXPECT_LE(sizes.train * values * item_size, kMaxGradientBytes);
        EXPECT_LE(sizes.queries * parameters * item_size, kMaxFactorBytes);
        EXPECT_LE(sizes.queries * sizes.train * values * item_size,
                  kMaxTileBytes);
        EXPECT_GE(sizes.train, 1);
        EXPECT_GE(sizes.queries, 1);
      }
    }
  }
}

TEST(BatchSizesTest, SmallIsWhatAPassIsSoonOverWith) {
  EXPECT_TRUE(IsSmall(
      {.num_parameters = 230, .num_train = 64, .values_per_input = 64}));
  EXPECT_FALSE(IsSmall(
      {.num_parameters = 230, .num_train = 640, .values_per_input = 64}));
  EXPECT_FALSE(IsSmall({.num_parameters = int64_t{1} << 62,
                        .num_train = int64_t{1} << 62,
                        .values_per_input = int64_t{1} << 62}));
}

TEST(BatchSizesTest, OneSampleIsTakenEvenIfItBreaksTheBounds) {
  const BatchProblem problem = {.num_parameters = int64_t{1} << 40,
                                .item_size = 8,
                                .num_train = 10,
                                .num_queries = 10,
                                .values_per_input = int64_t{1} << 40,
                                .values_per_score = int64_t{1} << 40};
  const BatchSizes sizes = ChooseBatchSizes(problem, std::nullopt);
  EXPECT_EQ(sizes.train, 1);
  EXPECT_EQ(sizes.queries, 1);
  EXPECT_EQ(ChooseBatchSizes(problem, 5).train, 5);
  EXPECT_EQ(ChooseBatchSizes(problem, 5).queries, 1);
}

}  // namespace
}  // namespace influence
