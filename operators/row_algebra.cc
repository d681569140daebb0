// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/row_algebra.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "ATen/ops/empty.h"
#include "ATen/ops/zeros.h"

namespace influence {
namespace {

// Scalars that are turned to float64 at a time.
constexpr int64_t kTileScalars = int64_t{1} << 20;

// Calls `function(begin, size)` for tiles of `num_columns` columns.
template <typename Function>
void ForTiles(int64_t num_rows, int64_t num_columns, Function&& function) {
  const int64_t width =
      std::max<int64_t>(1, kTileScalars / std::max<int64_t>(1, num_rows));
  for (int64_t begin = 0; begin < num_columns; begin += width) {
    function(begin, std::min(width, num_columns - begin));
  }
}

at::Tensor ToTensor(const std::vector<int64_t>& indices) {
  at::Tensor tensor =
      at::empty({static_cast<int64_t>(indices.size())}, at::kLong);
  std::copy(indices.begin(), indices.end(), tensor.data_ptr<int64_t>());
  return tensor;
}

std::vector<double> ToVector(const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(at::kDouble).contiguous();
  const double* data = values.data_ptr<double>();
  return {data, data + values.numel()};
}

}  // namespace

at::Tensor RowGram(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() == at::kDouble) return a.matmul(b.t());
  at::Tensor sum = at::zeros({a.size(0), b.size(0)}, at::kDouble);
  ForTiles(a.size(0) + b.size(0), a.size(1), [&](int64_t begin, int64_t size) {
    sum.addmm_(a.narrow(1, begin, size).to(at::kDouble),
               b.narrow(1, begin, size).to(at::kDouble).t());
  });
  return sum;
}

std::vector<double> RowDots(const at::Tensor& a, const at::Tensor& b) {
  at::Tensor sum = at::zeros({a.size(0)}, at::kDouble);
  ForTiles(a.size(0), a.size(1), [&](int64_t begin, int64_t size) {
    sum.add_(a.narrow(1, begin, size)
                 .to(at::kDouble)
                 .mul(b.narrow(1, begin, size).to(at::kDouble))
                 .sum(1));
  });
  return ToVector(sum);
}

std::vector<double> RowNorms(const at::Tensor& a) {
  std::vector<double> norms = RowDots(a, a);
  for (double& norm : norms) norm = std::sqrt(norm);
  return norms;
}

at::Tensor SelectRows(const at::Tensor& a,
                      const std::vector<int64_t>& indices) {
  return a.index_select(0, ToTensor(indices));
}

void AssignRows(const at::Tensor& a, const std::vector<int64_t>& indices,
                const at::Tensor& rows) {
  a.index_copy_(0, ToTensor(indices), rows);
}

at::Tensor RowFactors(const std::vector<double>& factors,
                      const at::Tensor& like) {
  at::Tensor tensor =
      at::empty({static_cast<int64_t>(factors.size()), 1}, at::kDouble);
  std::copy(factors.begin(), factors.end(), tensor.data_ptr<double>());
  return tensor.to(like.scalar_type());
}

std::vector<int64_t> NotDone(const std::vector<bool>& done) {
  std::vector<int64_t> indices;
  for (size_t i = 0; i < done.size(); ++i) {
    if (!done[i]) indices.push_back(static_cast<int64_t>(i));
  }
  return indices;
}

UnitRows UnitRows::Of(const at::Tensor& matrix, at::ScalarType dtype) {
  UnitRows unit;
  if (matrix.numel() == 0) return unit;
  // Entries are brought near 1 before they are squared.
  const std::vector<double> magnitudes = ToVector(matrix.abs().amax(1));
  for (size_t k = 0; k < magnitudes.size(); ++k) {
    if (magnitudes[k] > 0) unit.indices.push_back(static_cast<int64_t>(k));
  }
  if (unit.indices.empty()) return unit;
  unit.lengths = SelectEntries(magnitudes, unit.indices);
  unit.rows = SelectRows(matrix, unit.indices);
  unit.rows = unit.rows.div_(RowFactors(unit.lengths, unit.rows)).to(dtype);
  const std::vector<double> norms = RowNorms(unit.rows);
  unit.rows.div_(RowFactors(norms, unit.rows));
  for (size_t i = 0; i < norms.size(); ++i) unit.lengths[i] *= norms[i];
  return unit;
}

at::Tensor UnitRows::Expand(const at::Tensor& solutions,
                            const at::Tensor& like) const {
  at::Tensor matrix = at::zeros(like.sizes(), like.options());
  if (indices.empty()) return matrix;
  AssignRows(
      matrix, indices,
      solutions.mul(RowFactors(lengths, solutions)).to(like.scalar_type()));
  return matrix;
}

}  // namespace influence
