// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Eigendecompositions of several symmetric matrices, shared out among the ranks
// of a job and the threads of each.
#ifndef INFLUENCE_OPERATORS_SHARED_EIGENDECOMPOSITION_H_
#define INFLUENCE_OPERATORS_SHARED_EIGENDECOMPOSITION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "base/progress.h"

namespace influence {

// Or several of one size, H of them.
struct SymmetricMatrix {
  std::string name;   // For errors and progress.
  at::Tensor values;  // [n, n] or [H, n, n], float64.

  // In place of `values`: rows X [H, m, n], m < n, float32 or float64, of
  // which the matrices are scale X^T X, of rank m at most.
  at::Tensor rows = {};
  double scale = 1;  // >= 0
};

// A = U diag(s) U^T, with a dimension [H] in front where the matrix has one.
struct Eigendecomposition {
  at::Tensor eigenvalues;   // s [r], float64, descending.
  at::Tensor eigenvectors;  // U [n, r], float64, orthonormal columns.
};

// The decomposition of each matrix, in their order, on every rank the same one.
// Collective: all ranks give the same matrices.
//
// r = n where `values` are given. Of rows X, X^T = Q R gives U = Q W with the
// eigenvectors W of R R^T, so that U is orthonormal to rounding however small
// its eigenvalues are; r <= m, eigenvalues that are rounding errors (16 units
// of the largest, in all H matrices) are left out. 4 n m^2 + 9 m^3 + 2 n m r
// operations in place of 9 n^3.
//
// The costliest go first, each to the rank that has least to do. Within a rank
// a matrix that is much more than a thread's part of what is left takes all
// LibTorch threads; the others are decomposed side by side, one thread each. A
// rank that has more to do than the others of its machine takes the cores that
// these leave idle meanwhile, as far as it may run on them. A matrix is let go
// as soon as it is decomposed; LAPACK needs twice its memory beside the result.
//
// kInvalidArgument, on every rank and naming the matrix, where one has an entry
// that is not finite; errors of LibTorch (no convergence) on the rank that
// meets them, which has to end the job; errors of the communicator. 8 (n r + r)
// bytes to all. `progress`: a step a matrix of this rank, in a stage of its
// own, with its name, where it takes long; borrowed, may be null.
absl::StatusOr<std::vector<Eigendecomposition>> EigendecomposeTogether(
    std::vector<SymmetricMatrix> matrices, Communicator& communicator,
    ProgressReporter* progress = nullptr);

// Whether a decomposition of `cost` gets all of a rank's threads where it and
// those that follow it cost `rest` together.
bool TakesAllThreads(double cost, double rest, int num_threads);

// Operations of a decomposition: of H matrices of n rows, or from m of these
// where m is given and not 0.
double EigendecompositionCost(int64_t groups, int64_t n, int64_t m = 0);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_SHARED_EIGENDECOMPOSITION_H_
