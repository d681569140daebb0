// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Where a Kronecker-factored inverse needs its eigenvalues and where it does
// not. In eigen-coordinates the inverse divides entry (k, l) by Lambda[k, l] +
// lambda. Where Lambda / (Lambda + lambda) <= t, 1 / lambda is that inverse to
// a relative accuracy of t, the same for all entries, and over a rectangle of
// rows K and columns L inner products of outer products u v^T factor:
//
//   sum_{k in K, l in L} (u_k v_l) (u'_k v'_l) / lambda
//       = (u_K . u'_K) (v_L . v'_L) / lambda,
//
// |K| + |L| multiply-adds instead of |K| |L|. So the rows and columns are
// sorted by how many entries need their eigenvalue, and the grid is cut into a
// staircase: a few runs of rows, of which each contracts its leading columns
// entry by entry and leaves the others to such products.
#ifndef INFLUENCE_OPERATORS_EIGENVALUE_STAIRCASE_H_
#define INFLUENCE_OPERATORS_EIGENVALUE_STAIRCASE_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"

namespace influence {

struct EigenvalueStaircase {
  // Rows [begin, end), counted in row_order, contract the first num_columns of
  // column_order entry by entry.
  struct Step {
    int64_t begin;
    int64_t end;
    int64_t num_columns;
  };

  // order[i] is the row (column) that comes i-th; int64 [R], [C].
  at::Tensor row_order;
  at::Tensor column_order;

  // Top to bottom: every row once, num_columns falling.
  std::vector<Step> steps;

  // Entries that are contracted, over R * C.
  double contracted_share = 1;
};

// The staircase of eigenvalues Lambda [R, C], float64, >= 0, and lambda >= 0
// that costs least, where an entry contracted costs 1 and a step `step_cost`.
// Every entry with Lambda / (Lambda + lambda) > t is contracted; with lambda =
// 0 all are. Without anything to gain: one step of everything, in the given
// order. 0 <= t < 1. R C log(R C) + R^2 operations, R^2 bounded by 2^20. May
// throw.
EigenvalueStaircase FindEigenvalueStaircase(const at::Tensor& eigenvalues,
                                            double regularization,
                                            double tolerance, double step_cost);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_EIGENVALUE_STAIRCASE_H_
