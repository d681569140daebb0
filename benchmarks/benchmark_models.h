// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The models and batches that the benchmarks share, with random weights and
// data from a fixed seed.
#ifndef INFLUENCE_BENCHMARKS_BENCHMARK_MODELS_H_
#define INFLUENCE_BENCHMARKS_BENCHMARK_MODELS_H_

#include <cstdint>
#include <memory>

#include "gradients/batch.h"
#include "gradients/model.h"

namespace influence {

enum class BenchmarkModel {
  kMlp,          // 784-512-256-10 ReLU, P = 535,818.
  kCnn,          // Two 3x3 convolutions with pooling, 1568-128-10, P = 206,922.
  kTransformer,  // Four blocks, d 128, 4 heads, 128 byte tokens, P = 875,264.
};

struct BenchmarkProblem {
  std::shared_ptr<const Model> model;  // float32.
  Batch batch;                         // Labels for cross entropy.
};

BenchmarkProblem MakeBenchmarkProblem(BenchmarkModel model,
                                      int64_t num_samples);

}  // namespace influence

#endif  // INFLUENCE_BENCHMARKS_BENCHMARK_MODELS_H_
