// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Small models with seeded parameters and data, for tests and benchmarks.
#ifndef INFLUENCE_OPERATORS_PROBLEM_TESTING_H_
#define INFLUENCE_OPERATORS_PROBLEM_TESTING_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "gradients/batch.h"
#include "gradients/model.h"

namespace influence {

// A tensor of normal deviates, the same on every platform and LibTorch version
// (drawn by std::mt19937_64 with the Box-Muller transform).
at::Tensor SeededNormal(std::vector<int64_t> shape, at::ScalarType dtype,
                        uint64_t seed, double scale = 1.0);

// Labels in [0, num_classes), [size].
at::Tensor SeededLabels(int64_t size, int64_t num_classes, uint64_t seed);

// Linear layers "0.weight" [o, i], "0.bias", "2.weight", ... with tanh between
// them, of the given widths.
std::shared_ptr<const Model> TanhMlp(const std::vector<int64_t>& widths,
                                     at::ScalarType dtype, uint64_t seed,
                                     bool bias = true);

// Normal inputs [size, widths] and labels for cross entropy.
Batch SeededClassification(int64_t size, int64_t num_features,
                           int64_t num_classes, at::ScalarType dtype,
                           uint64_t seed);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_PROBLEM_TESTING_H_
