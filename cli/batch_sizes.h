// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// How data are cut into batches. No result depends on it; memory and time do.
#ifndef INFLUENCE_CLI_BATCH_SIZES_H_
#define INFLUENCE_CLI_BATCH_SIZES_H_

#include <cstdint>
#include <optional>

namespace influence {

// The bounds that are kept where a size is left to ChooseBatchSizes(), as long
// as one sample does not break them by itself: bytes of the per-sample
// gradients [n, P] of a training batch, were they written out, or of its
// inputs, whichever are more; of the factors [m, P] of the queries that share a
// pass over the training data; of a tile [m, n, ...] of the result.
inline constexpr int64_t kMaxGradientBytes = int64_t{256} << 20;
inline constexpr int64_t kMaxFactorBytes = int64_t{512} << 20;
inline constexpr int64_t kMaxTileBytes = int64_t{256} << 20;

// More samples a batch gain nothing.
inline constexpr int64_t kMaxAutoBatch = 1024;

struct BatchProblem {
  int64_t num_parameters = 1;    // P
  int64_t item_size = 4;         // Bytes of one scalar: 4 or 8.
  int64_t num_train = 1;         // N
  int64_t num_queries = 1;       // M
  int64_t values_per_input = 1;  // Scalars in one sample of x, all inputs.
  int64_t values_per_score = 1;  // 1, or those of one x with kPerturbation.
};

struct BatchSizes {
  int64_t train;    // Training samples a batch: n.
  int64_t queries;  // Queries that share a pass over the training data: m.
};

// All of `problem` >= 1. `requested`, if given, is n (or N where that is less)
// and does not bind m, which depends on it only through the size of a tile.
BatchSizes ChooseBatchSizes(const BatchProblem& problem,
                            std::optional<int64_t> requested);

// Up to so many multiply-adds a pass over the training data is over within a
// few milliseconds, and threads that share its operators gain less than it
// takes to wake them.
inline constexpr double kMostSmallProducts = 1 << 21;

// Whether N P values_per_input, which a pass over the training data does not
// exceed where a parameter meets each number of an input once at most, is not
// more than that.
bool IsSmall(const BatchProblem& problem);

}  // namespace influence

#endif  // INFLUENCE_CLI_BATCH_SIZES_H_
