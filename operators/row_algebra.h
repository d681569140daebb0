// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Sums over the rows of right-hand sides [K, P] for solvers that treat each row
// by itself: sums in float64 whatever the dtype, a tile of columns at a time.
// All functions may throw c10::Error.
#ifndef INFLUENCE_OPERATORS_ROW_ALGEBRA_H_
#define INFLUENCE_OPERATORS_ROW_ALGEBRA_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"

namespace influence {

// a b^T for a [n, P] and b [m, P], float64 [n, m].
at::Tensor RowGram(const at::Tensor& a, const at::Tensor& b);

// a_k . b_k for each row.
std::vector<double> RowDots(const at::Tensor& a, const at::Tensor& b);

// |a_k| for each row.
std::vector<double> RowNorms(const at::Tensor& a);

// The rows of `a` at `indices`, a copy.
at::Tensor SelectRows(const at::Tensor& a, const std::vector<int64_t>& indices);

// Overwrites the rows of `a` at `indices`, each given once, with those of
// `rows`.
void AssignRows(const at::Tensor& a, const std::vector<int64_t>& indices,
                const at::Tensor& rows);

// A factor for each row, [K, 1] in the dtype of `like`.
at::Tensor RowFactors(const std::vector<double>& factors,
                      const at::Tensor& like);

// Numbers in order that are false in `done`.
std::vector<int64_t> NotDone(const std::vector<bool>& done);

// The entries of `values` at `indices`.
template <typename T>
std::vector<T> SelectEntries(const std::vector<T>& values,
                             const std::vector<int64_t>& indices) {
  std::vector<T> selected;
  selected.reserve(indices.size());
  for (const int64_t index : indices) selected.push_back(values[index]);
  return selected;
}

// The rows of a matrix that are not zero, scaled to length 1, whose squares
// neither under- nor overflow.
struct UnitRows {
  std::vector<int64_t> indices;  // Of the rows, ascending.
  std::vector<double> lengths;   // Of the rows.
  at::Tensor rows;               // [number of them, P], a copy in `dtype`.

  // matrix: [K, P], finite.
  static UnitRows Of(const at::Tensor& matrix, at::ScalarType dtype);

  // The matrix [K, P] whose rows are those of `solutions`, each times the
  // length of its row here, and zero where the row was; in the dtype of `like`
  // [K, P].
  at::Tensor Expand(const at::Tensor& solutions, const at::Tensor& like) const;
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_ROW_ALGEBRA_H_
