// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Small models with seeded parameters and data, and dense curvatures to compare
// with, for tests and benchmarks.
#ifndef INFLUENCE_OPERATORS_PROBLEM_TESTING_H_
#define INFLUENCE_OPERATORS_PROBLEM_TESTING_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "gradients/batch.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"

namespace influence {

// A tensor of normal deviates, the same on every platform and LibTorch version
// (drawn by std::mt19937_64 with the Box-Muller transform).
at::Tensor SeededNormal(const std::vector<int64_t>& shape, at::ScalarType dtype,
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

// What curvatures are defined to be, formed as dense float64 matrices by other
// means than the operators': from whole gradients, one sample and one parameter
// at a time. [P, P] for the parameters of the provider's selection. They end
// the process on an error.

// Central differences of the mean gradient: exact to about 1e-9 of the largest
// entry where model and loss are smooth and of order one. Float64 models only;
// changes the parameters meanwhile and puts them back.
at::Tensor HessianByDifferences(const GradientProvider& provider,
                                const Batch& batch);

// mean_n g_n g_n^T.
at::Tensor DenseGaussNewton(const GradientProvider& provider,
                            const Batch& batch);

// mean_n J_n^T H_n J_n, row by row of J_n, H_n by autograd of the loss alone.
at::Tensor DenseGeneralizedGaussNewton(const GradientProvider& provider,
                                       const Batch& batch);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_PROBLEM_TESTING_H_
