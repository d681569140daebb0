// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/parameter_view.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "ATen/core/Tensor.h"

namespace influence {

std::optional<MatrixView> AsMatrixView(const at::Tensor& view) {
  if (view.dim() != 2 && view.dim() != 3) return std::nullopt;
  const int64_t rows = view.size(-2), columns = view.size(-1);
  const int64_t row_stride = view.stride(-2), column_stride = view.stride(-1);
  const bool row_major = (rows == 1 || row_stride == columns) &&
                         (columns == 1 || column_stride == 1);
  const bool column_major =
      (rows == 1 || row_stride == 1) && (columns == 1 || column_stride == rows);
  if (!row_major && !column_major) return std::nullopt;
  int64_t groups = 1;
  if (view.dim() == 3 && view.size(0) > 1 && view.stride(0) != 0) {
    if (view.stride(0) != rows * columns) return std::nullopt;
    groups = view.size(0);
  }
  return MatrixView{groups, rows, columns, /*transposed=*/!row_major};
}

std::optional<std::vector<int64_t>> BroadcastShape(
    const at::Tensor& view, at::IntArrayRef output_shape) {
  const int64_t num_dims = static_cast<int64_t>(output_shape.size());
  const int64_t missing = num_dims - view.dim();
  if (missing < 0) return std::nullopt;
  std::vector<int64_t> shape(num_dims, 1);
  int64_t expected_stride = 1;
  for (int64_t d = view.dim() - 1; d >= 0; --d) {
    const int64_t size = view.size(d);
    const int64_t output_size = output_shape[missing + d];
    if (size != 1 && size != output_size) return std::nullopt;
    if (size == 1 || view.stride(d) == 0) continue;
    if (view.stride(d) != expected_stride) return std::nullopt;
    expected_stride *= size;
    shape[missing + d] = size;
  }
  return shape;
}

}  // namespace influence
