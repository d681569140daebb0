// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/kronecker_costs.h"

#include <cstdint>

#include "gtest/gtest.h"

namespace influence {
namespace {

KroneckerLayerSize Layer(int64_t inputs, int64_t outputs, int64_t positions) {
  KroneckerLayerSize layer;
  layer.name = "fc";
  layer.inputs = inputs;
  layer.outputs = outputs;
  layer.positions = positions;
  return layer;
}

// Linear(3000, 4): nine million numbers a side, not twelve thousand.
TEST(KroneckerCostsTest, AWideLayerCountsItsSquares) {
  KroneckerCostOptions options;
  options.num_samples = 10000;
  const KroneckerCosts costs =
      EstimateKroneckerCosts({Layer(3001, 4, 1)}, options);
  const int64_t square = 8 * 3001 * 3001;
  EXPECT_EQ(costs.covariances, square + 8 * 16);
  EXPECT_EQ(costs.eigenvectors, square + 8 * 16);
  EXPECT_EQ(costs.squares, 8 * 3001 * 4);
  EXPECT_EQ(costs.state, costs.eigenvectors + costs.squares);
  EXPECT_EQ(costs.rotations, costs.eigenvectors / 2);
  EXPECT_EQ(costs.inverse, costs.eigenvectors / 2 + costs.squares);
  // The matrix, its eigenvectors and LAPACK's twice as much.
  EXPECT_EQ(costs.decomposition, costs.covariances + 3 * square);
  EXPECT_EQ(costs.largest_layer, "fc");
  EXPECT_EQ(costs.largest_rows, 3001);
  EXPECT_NEAR(costs.decomposition_operations, 9.0 * 3001 * 3001 * 3001, 1e5);
}

TEST(KroneckerCostsTest, FewRowsCountAsRows) {
  KroneckerCostOptions options;
  options.num_samples = 64;
  const KroneckerCosts costs =
      EstimateKroneckerCosts({Layer(12384, 256, 16)}, options);
  // 1024 positions: fewer than inputs, more than outputs.
  EXPECT_EQ(costs.covariances, 1024 * 12384 * 4 + 8 * 256 * 256);
  EXPECT_EQ(costs.eigenvectors, 8 * (1024 * 12384 + 256 * 256));
  EXPECT_EQ(costs.squares, 8 * 1024 * 256);
  EXPECT_EQ(costs.largest_rows, 1024);
  options.num_samples = 1000;
  const KroneckerCosts many =
      EstimateKroneckerCosts({Layer(12384, 256, 16)}, options);
  EXPECT_EQ(many.largest_rows, 12384);
  EXPECT_GT(many.decomposition_operations,
            100 * costs.decomposition_operations);
}

TEST(KroneckerCostsTest, GroupsCountTimes) {
  KroneckerLayerSize layer = Layer(9, 1, 100);
  layer.groups = 64;
  KroneckerCostOptions options;
  options.is_ekfac = false;
  const KroneckerCosts costs = EstimateKroneckerCosts({layer, layer}, options);
  EXPECT_EQ(costs.covariances, 2 * 64 * 8 * 82);
  EXPECT_EQ(costs.squares, 0);
  EXPECT_EQ(costs.rotations, 0);
  EXPECT_EQ(costs.state, 2 * 64 * 8 * (82 + 9));
}

// As many at a time as there are threads.
TEST(KroneckerCostsTest, ThreadsDecomposeSideBySide) {
  KroneckerCostOptions options;
  options.num_samples = 1000;
  const auto decomposition = [&](int num_threads) {
    options.num_threads = num_threads;
    return EstimateKroneckerCosts({Layer(100, 1, 1), Layer(100, 1, 1)}, options)
        .decomposition;
  };
  EXPECT_EQ(decomposition(2) - decomposition(1), 3 * 8 * 100 * 100);
  // Half of what there is to do is more than the part of one of four.
  EXPECT_EQ(decomposition(4), decomposition(1));
  // A large one is alone.
  options.num_threads = 2;
  const KroneckerCosts alone =
      EstimateKroneckerCosts({Layer(400, 1, 1), Layer(100, 1, 1)}, options);
  EXPECT_EQ(alone.decomposition - alone.covariances, 3 * 8 * 400 * 400);
}

}  // namespace
}  // namespace influence
