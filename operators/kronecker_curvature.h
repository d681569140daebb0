// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Kronecker-factored approximations of the Fisher information of Linear and
// convolution layers, KFAC (Martens and Grosse 2015, Grosse and Martens 2016)
// and EKFAC (George et al. 2018), as fitted: plain data to be read and stored.
#ifndef INFLUENCE_OPERATORS_KRONECKER_CURVATURE_H_
#define INFLUENCE_OPERATORS_KRONECKER_CURVATURE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"

namespace influence {

// One factor pair: a Linear layer, or one group of a convolution. a are the
// inputs of a position (with the bias, an appended 1: I = inputs + 1), g the
// gradients of the loss in its outputs; O outputs of this group. The gradient
// of a sample is G = sum_t g a^T, [O, I].
//
// Where it lies in the flat parameters: row o, columns [0, inputs) of G are
// entries of `weight` from the scalar `weight_offset` on, row-major [O, inputs]
// or, if `input_major`, [inputs, O]; column `inputs` is the O entries of `bias`
// from `bias_offset` on.
struct KroneckerFactors {
  // "conv1" for a weight "conv1.weight"; the weight's name where that does not
  // end in ".weight".
  std::string layer;
  int64_t group;  // 0 unless a grouped convolution.

  int64_t weight;  // Index into Model::parameters().
  int64_t weight_offset;
  bool input_major;
  std::optional<int64_t> bias;  // Index into Model::parameters().
  int64_t bias_offset;

  // float64. S_A [I, I] is the sum of a a^T over all samples' positions and
  // uses over their number; S_G [O, O] the mean over samples of the sum of
  // g g^T over positions. Either may be undefined if not kept.
  at::Tensor input_covariance;
  at::Tensor gradient_covariance;

  // float64. S = U diag(s) U^T, orthonormal eigenvectors in the columns, s
  // descending. R <= I and Q <= O: what is orthogonal to the columns has
  // eigenvalue 0.
  at::Tensor input_eigenvectors;     // U_A [I, R]
  at::Tensor input_eigenvalues;      // [R]
  at::Tensor gradient_eigenvectors;  // U_G [O, Q]
  at::Tensor gradient_eigenvalues;   // [Q]

  // Lambda [Q, R], float64, >= 0: of KFAC the outer product of the two lists
  // of eigenvalues, of EKFAC mean_n (U_G^T G_n U_A)^2 entry by entry. It is 0
  // for all that is orthogonal to the columns of U_A or U_G, as the gradients
  // of the fit are.
  at::Tensor eigenvalues;

  int64_t num_inputs() const { return input_eigenvectors.size(0); }      // I
  int64_t num_outputs() const { return gradient_eigenvectors.size(0); }  // O

  // Whether U_A or U_G has fewer columns than rows.
  bool is_deficient() const {
    return input_eigenvectors.size(1) < num_inputs() ||
           gradient_eigenvectors.size(1) < num_outputs();
  }
};

// A parameter outside of all layers: the diagonal of the same Fisher.
struct DiagonalFactor {
  int64_t parameter;    // Index into Model::parameters().
  at::Tensor diagonal;  // float64 [size], >= 0.
};

struct KroneckerCurvature {
  std::vector<KroneckerFactors> layers;
  std::vector<DiagonalFactor> diagonals;

  // Parameters that were left out: their part of every product is 0.
  std::vector<int64_t> dropped;

  // Those of diagonals and dropped that belong to layers wider than
  // KroneckerFitOptions::max_factor_size.
  std::vector<int64_t> too_wide;

  int64_t num_samples = 0;
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_KRONECKER_CURVATURE_H_
