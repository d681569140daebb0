// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/random_matrix.h"

#include <cmath>
#include <tuple>

#include "ATen/ops/empty.h"
#include "ATen/ops/linalg_qr.h"
#include "base/counter_based_random.h"
#include "base/status_macros.h"

namespace influence {
at::Tensor RandomNormalMatrix(int64_t num_rows, int64_t num_columns,
                              uint64_t seed) {
  at::Tensor matrix = at::empty({num_rows, num_columns}, at::kDouble);
  auto* data = matrix.data_ptr<double>();
  const int64_t size = matrix.numel();
  for (int64_t i = 0; i < size; i += 2) {
    const double radius = std::sqrt(-2 * std::log(1 - UniformAt(seed, i, 0)));
    const double angle = 2 * M_PI * UniformAt(seed, i, 1);
    data[i] = radius * std::cos(angle);
    if (i + 1 < size) data[i + 1] = radius * std::sin(angle);
  }
  return matrix;
}

at::Tensor RandomOrthonormalRows(int64_t num_rows, int64_t num_columns,
                                 uint64_t seed) {
  INFLUENCE_CHECK(num_rows <= num_columns);
  const at::Tensor normal = RandomNormalMatrix(num_rows, num_columns, seed);
  return std::get<0>(at::linalg_qr(normal.t(), "reduced")).t().contiguous();
}

}  // namespace influence
