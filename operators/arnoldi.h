// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The k eigenpairs of largest magnitude of a symmetric C that is reached
// through its products alone: the implicitly restarted method of Arnoldi, which
// for a symmetric C is that of Lanczos (Sorensen 1992), as Spectra implements
// it.
#ifndef INFLUENCE_OPERATORS_ARNOLDI_H_
#define INFLUENCE_OPERATORS_ARNOLDI_H_

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "operators/low_rank.h"
#include "operators/operator.h"

namespace influence {

struct ArnoldiOptions {
  int64_t rank = 10;  // k: 1 to P.
  uint64_t seed = 0;  // Of the start vector.

  // Of the products with C: float32 or float64. U comes in it too.
  at::ScalarType dtype = at::kDouble;

  // An eigenpair has converged once |C u - d u| <= relative_tolerance * |d| by
  // the method's own estimate. > 0; where not given (0), 1e-10 for products in
  // float64 and 1e-6 in float32.
  double relative_tolerance = 0;

  int64_t max_restarts = 300;  // >= 1.
};

struct ArnoldiResult {
  // Those that have converged, by falling magnitude; U [P, k'], k' <= k.
  LowRank pairs;
  bool converged;        // All k have.
  int64_t num_products;  // With C, one right-hand side each.
  int64_t num_restarts;
};

// Dimension of the Krylov space: min(P, max(2 k + 1, 20)). As many products are
// taken, and about k more for each restart.
int64_t ArnoldiSubspaceSize(int64_t rank, int64_t size);

// Memory: two float64 [P, ArnoldiSubspaceSize()]. The same for every batch size
// and number of threads up to rounding, a function of the seed. At k = P, and
// where the Krylov space would be all of R^P, the eigendecomposition of the
// dense C, from P products.
//
// kInvalidArgument on a bad option. The first Apply() that fails ends the
// search and its status is returned; a product that is not finite is
// kInvalidArgument. To miss the tolerance is no error.
absl::StatusOr<ArnoldiResult> ArnoldiEigenpairs(const Operator& c,
                                                const ArnoldiOptions& options);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_ARNOLDI_H_
