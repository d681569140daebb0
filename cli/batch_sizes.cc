// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/batch_sizes.h"

#include <algorithm>
#include <cstdint>
#include <optional>

namespace influence {
namespace {

// How many pieces of `count` values of `item_size` bytes fit; no overflow for
// any count that fits into memory.
int64_t Fitting(int64_t bytes, int64_t count, int64_t item_size) {
  return bytes / item_size / count;
}

}  // namespace

BatchSizes ChooseBatchSizes(const BatchProblem& problem,
                            std::optional<int64_t> requested) {
  const int64_t by_factors = std::clamp<int64_t>(
      Fitting(kMaxFactorBytes, problem.num_parameters, problem.item_size), 1,
      problem.num_queries);
  if (requested.has_value()) {
    const int64_t train = std::min(*requested, problem.num_train);
    const int64_t by_tile =
        Fitting(kMaxTileBytes, problem.values_per_score, problem.item_size) /
        train;
    return {train, std::clamp<int64_t>(by_tile, 1, by_factors)};
  }
  const int64_t by_gradients =
      Fitting(kMaxGradientBytes,
              std::max(problem.num_parameters, problem.values_per_input),
              problem.item_size);
  const int64_t most = std::min(kMaxAutoBatch, problem.num_train);
  // Queries come first: each group of them costs a pass over the training data.
  const int64_t tile =
      Fitting(kMaxTileBytes, problem.values_per_score, problem.item_size);
  const int64_t queries = std::clamp<int64_t>(tile, 1, by_factors);
  return {std::clamp<int64_t>(std::min(by_gradients, tile / queries), 1, most),
          queries};
}

bool IsSmall(const BatchProblem& problem) {
  return static_cast<double>(problem.num_train) *
             static_cast<double>(problem.num_parameters) *
             static_cast<double>(problem.values_per_input) <=
         kMostSmallProducts;
}

}  // namespace influence
