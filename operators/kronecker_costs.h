// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What a fit of KFAC or EKFAC (kronecker_fit.h) needs, before it is made: each
// layer counts with the squares of its sides, which for convolutions and wide
// inputs are many times its parameters.
#ifndef INFLUENCE_OPERATORS_KRONECKER_COSTS_H_
#define INFLUENCE_OPERATORS_KRONECKER_COSTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "gradients/factored_gradients.h"
#include "operators/kronecker_layers.h"

namespace influence {

struct KroneckerLayerSize {
  std::string name;
  int64_t groups = 1;
  int64_t inputs = 0;     // I of a group, with the appended 1.
  int64_t outputs = 0;    // O of a group.
  int64_t positions = 0;  // Of a sample, of all uses.
};

// The layers' sizes, positions as those of `gradients`, whose parameter p of
// the model is at positions[p]. Errors of FactorsOfLayer().
absl::StatusOr<std::vector<KroneckerLayerSize>> MeasureKroneckerLayers(
    const KroneckerLayers& layers, const FactoredGradients& gradients,
    const std::vector<int64_t>& positions);

struct KroneckerCostOptions {
  bool is_ekfac = true;
  int64_t num_samples = 1;
  int64_t num_terms = 1;  // Of the Fisher: FisherGradients::num_terms().
  int64_t item_size = 4;  // Bytes of a scalar of the model.
  int num_threads = 1;    // That may decompose a matrix each.
};

// In bytes where nothing else is said.
struct KroneckerCosts {
  int64_t covariances = 0;  // Sums of the first pass, of one worker.
  int64_t squares = 0;      // Sums of the second pass, likewise; 0 of KFAC.
  int64_t rotations = 0;    // Eigenvectors for that pass, in the model's dtype.
  int64_t decomposition = 0;  // At most, while eigenpairs are found.
  int64_t eigenvectors = 0;   // Fitted, float64.
  int64_t state = 0;    // Fitted, with eigenvalues; so much goes to the disk.
  int64_t inverse = 0;  // Beside that, what scores need in the model's dtype.

  // Operations, of all samples and matrices.
  double decomposition_operations = 0;
  double pass_operations = 0;

  // The layer whose matrices are the largest, and their rows.
  std::string largest_layer;
  int64_t largest_rows = 0;
  int64_t largest_bytes = 0;  // Of its statistics and their decomposition.
};

KroneckerCosts EstimateKroneckerCosts(
    const std::vector<KroneckerLayerSize>& layers,
    const KroneckerCostOptions& options);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_KRONECKER_COSTS_H_
