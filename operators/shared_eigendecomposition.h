// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Eigendecompositions of several symmetric matrices, shared out among the ranks
// of a job and the threads of each.
#ifndef INFLUENCE_OPERATORS_SHARED_EIGENDECOMPOSITION_H_
#define INFLUENCE_OPERATORS_SHARED_EIGENDECOMPOSITION_H_

#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "base/progress.h"

namespace influence {

struct SymmetricMatrix {
  std::string name;   // For errors.
  at::Tensor values;  // [n, n], float64.
};

// A = U diag(s) U^T.
struct Eigendecomposition {
  at::Tensor eigenvalues;   // s [n], float64, descending.
  at::Tensor eigenvectors;  // U [n, n], float64, orthonormal columns.
};

// The decomposition of each matrix, in their order, on every rank the same one.
// Collective: all ranks give the same matrices.
//
// The costliest go first, each to the rank that has least to do. Within a rank
// a matrix that is much more than a thread's part of what is left takes all
// LibTorch threads; the others are decomposed side by side, one thread each. A
// rank that has more to do than the others of its machine takes the cores that
// these leave idle meanwhile, as far as it may run on them.
//
// kInvalidArgument, on every rank and naming the matrix, where one has an entry
// that is not finite; errors of LibTorch (no convergence) on the rank that
// meets them, which has to end the job; errors of the communicator. About 9 n^3
// operations a matrix; 8 (n^2 + n) bytes to all. `progress`: a step a matrix of
// this rank; borrowed, may be null.
absl::StatusOr<std::vector<Eigendecomposition>> EigendecomposeTogether(
    const std::vector<SymmetricMatrix>& matrices, Communicator& communicator,
    ProgressReporter* progress = nullptr);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_SHARED_EIGENDECOMPOSITION_H_
