// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A randomised low-rank approximation of a positive semidefinite C from k
// products: with a random orthonormal Omega [P, k],
//   C ~ (C Omega) (Omega^T C Omega)^+ (C Omega)^T,
// computed with a shift that keeps it stable (Frangella, Tropp and Udell 2021,
// "Randomized Nystroem preconditioning", algorithm 2.1; error bounds: Gittens
// and Mahoney 2016).
#ifndef INFLUENCE_OPERATORS_NYSTROEM_H_
#define INFLUENCE_OPERATORS_NYSTROEM_H_

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "operators/low_rank.h"
#include "operators/operator.h"

namespace influence {

struct NystroemOptions {
  int64_t rank = 10;  // k: 1 to P.
  uint64_t seed = 0;  // Of Omega.

  // Of the products with C: float32 or float64. U comes in it too.
  at::ScalarType dtype = at::kDouble;

  // Products, one after the other, that look for a negative eigenvalue beside
  // the sketch (by Lanczos' method), which shows itself only if it is large.
  // >= 0; 0 where C is known to be positive semidefinite.
  int64_t num_definiteness_products = 30;
};

// D >= 0 by falling size. One Apply() for the k right-hand sides together,
// about 8 P k^2 further operations in float64, and memory for four float64 [P,
// k]. The same for every batch size and number of threads, up to rounding; a
// function of the seed. At k = P the dense eigendecomposition of C instead.
//
// kInvalidArgument on a bad option, and, naming the second order, if C was
// found to be indefinite: an eigenvalue of the sketch's Omega^T C Omega, or a
// Ritz value of the search, below zero by more than rounding explains. That a C
// passes is no proof. A failed Apply() is returned as it is.
absl::StatusOr<LowRank> NystroemEigenpairs(const Operator& c,
                                           const NystroemOptions& options);

// The same pairs with D below zero by rounding set to zero: what Nystroem's
// method makes of the eigendecomposition of a dense C whose entries were
// computed in `dtype`. kInvalidArgument as above if a D is below zero by more.
absl::StatusOr<LowRank> NonNegativeEigenpairs(const LowRank& pairs,
                                              at::ScalarType dtype);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_NYSTROEM_H_
