// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Kronecker-factored curvatures with known factors for tests, and what their
// inverses are defined to be as dense matrices, made by other means.
#ifndef INFLUENCE_OPERATORS_KRONECKER_TESTING_H_
#define INFLUENCE_OPERATORS_KRONECKER_TESTING_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "gradients/factored_gradients.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "operators/kronecker_curvature.h"

namespace influence {

// Random eigenvectors and eigenvalues for the fields that are set: everything
// of `factors` but the tensors, of o outputs and i inputs (a bias included).
// The first `gradient_rank` and `input_rank` eigenvectors, all where 0.
// Eigenvalues fall from 1 as ((k + 1) (l + 1))^-decay, each times a random
// number from [1, 2), so that they are no outer product.
KroneckerFactors WithRandomFactors(KroneckerFactors factors, int64_t o,
                                   int64_t i, uint64_t seed, double decay = 2,
                                   int64_t gradient_rank = 0,
                                   int64_t input_rank = 0);

// A model without any use but its parameters' shapes, a curvature of them, and
// a block of all of them.
struct KroneckerProblem {
  std::shared_ptr<const Model> model;
  std::shared_ptr<const KroneckerCurvature> curvature;
  ParameterBlock block;
};

enum class KroneckerLayout {
  kLinear,      // [3, 4] and a bias [3].
  kTall,        // [6, 3] and a bias: more outputs than inputs.
  kNoBias,      // [3, 5].
  kInputMajor,  // [4, 3], inputs first, and a bias [3].
  kGroups,      // A convolution [4, 2, 3] of 2 groups, and a bias [4].
  kFused,       // A projection [6, 4] cut in three, and a bias [6].
  kRest,        // A linear layer, a diagonal [5] and a dropped [2].
  // Fewer eigenvectors than rows: of [4, 6] and a bias on both sides, of [3, 7]
  // for the inputs, of [6, 3] and a bias for the outputs alone.
  kDeficient,
  kDeficientInputs,
  kDeficientOutputs,
};

KroneckerProblem MakeKroneckerProblem(KroneckerLayout layout,
                                      at::ScalarType dtype, uint64_t seed);

// (C + lambda I)^-1 with zeros for what is dropped, float64 [P, P]: from the
// explicit Kronecker products of the eigenvectors, by a dense inverse.
at::Tensor DenseKroneckerInverse(const KroneckerProblem& problem,
                                 double regularization);

// Per-sample gradients of the problem's parameters, random: outer products of
// `positions` positions where a factor pair is, with the biases' gradients as
// the model would have them; any others where not.
FactoredGradients RandomGradients(const KroneckerProblem& problem,
                                  int64_t num_samples, int64_t positions,
                                  uint64_t seed);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_KRONECKER_TESTING_H_
