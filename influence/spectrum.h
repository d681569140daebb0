// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// How large a regularization lambda should be: the eigenvalues of a fitted
// model's curvature, block by block, and how much its scores depend on lambda,
// from one fit.
#ifndef INFLUENCE_INFLUENCE_SPECTRUM_H_
#define INFLUENCE_INFLUENCE_SPECTRUM_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/batch_sequence.h"
#include "influence/composable_influence.h"

namespace influence {

// What a lambda does to a block. With L_i the eigenvalues of C, those below 0
// taken as 0:
struct RegularizationEffect {
  double regularization;       // lambda
  double effective_dimension;  // sum_i L_i / (L_i + lambda), 0 where L_i is 0.
  int64_t num_above;           // L_i > lambda
};

struct BlockSpectrum {
  std::string block;
  int64_t size;            // P_b
  at::Tensor eigenvalues;  // float64 [k], falling; k <= P_b of them are known.

  // Of the k known; 0 if there are none.
  double largest;
  double smallest;
  double mean;
  int64_t num_negative;

  std::vector<RegularizationEffect> effects;  // As asked for, in order.
};

// One entry per block. kInvalidArgument on a value that is negative or not
// finite; what CurvatureEigenvalues() returns, if it fails.
absl::StatusOr<std::vector<BlockSpectrum>> FindSpectrum(
    const ComposableInfluence& model,
    const std::vector<double>& regularizations);

// How the scores S [M, N] of M queries with N training samples change from one
// lambda to the next. A correlation is that of a query's N scores, averaged
// over the queries; queries whose scores are all equal, with either lambda, do
// not count, and there is none if no query counts.
struct ScoreSensitivity {
  double regularization;
  double next_regularization;
  std::optional<double> spearman;  // Of the ranks, equal scores averaged.
  std::optional<double> pearson;
  double relative_change;  // |S_next - S| / |S|, Frobenius; 0 if S is 0.
};

// One entry for each pair of successive values, two or more of them, each used
// for all blocks. From the one fit: nothing but the scores (mode kUp) is
// computed anew, once for each value; two arrays [M, N] of float64 are held.
// kInvalidArgument on bad values, or if the method has no regularization.
absl::StatusOr<std::vector<ScoreSensitivity>> FindScoreSensitivity(
    const ComposableInfluence& model,
    const std::vector<double>& regularizations, const BatchSequence& test,
    const BatchSequence& train);

}  // namespace influence

#endif  // INFLUENCE_INFLUENCE_SPECTRUM_H_
