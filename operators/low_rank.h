// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A symmetric matrix of low rank by its eigenpairs, U diag(D) U^T, and the
// eigenpairs of largest magnitude of a matrix that is small enough to be dense.
#ifndef INFLUENCE_OPERATORS_LOW_RANK_H_
#define INFLUENCE_OPERATORS_LOW_RANK_H_

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "operators/operator.h"

namespace influence {

struct LowRank {
  at::Tensor u;  // [P, k], k <= P, orthonormal columns; float32 or float64.
  at::Tensor d;  // [k], float64.

  int64_t num_parameters() const { return u.size(0); }  // P
  int64_t rank() const { return d.size(0); }            // k
};

// Shapes and dtypes are as above and all entries are finite; that the columns
// are orthonormal is the caller's promise. kInvalidArgument naming U or D.
absl::Status ValidateLowRank(const LowRank& low_rank);

// The `rank` eigenpairs of largest magnitude of c, by falling magnitude.
// c: float64 [P, P], symmetric (only the lower triangle counts); 1 <= rank <=
// P. U in `dtype`, in memory as k contiguous rows. About 9 P^3 operations by
// divide and conquer, whatever the rank; kInvalidArgument on a bad argument or
// an entry that is not finite.
absl::StatusOr<LowRank> DenseEigenpairs(const at::Tensor& c, int64_t rank,
                                        at::ScalarType dtype);

// `op`, which is symmetric, as a dense matrix, float64 [P, P], made exactly
// symmetric: its products, in `dtype`, with the unit vectors.
absl::StatusOr<at::Tensor> DenseMatrix(const Operator& op,
                                       at::ScalarType dtype);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_LOW_RANK_H_
