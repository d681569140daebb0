// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Random matrices that are the same everywhere: on every platform, for every
// version of LibTorch, number of threads and batch size.
#ifndef INFLUENCE_OPERATORS_RANDOM_MATRIX_H_
#define INFLUENCE_OPERATORS_RANDOM_MATRIX_H_

#include <cstdint>

#include "ATen/core/Tensor.h"

namespace influence {

// Independent standard normal deviates, float64 [num_rows, num_columns]:
// uniform ones of base/counter_based_random.h made normal by the transform of
// Box and Muller (1958). May throw.
at::Tensor RandomNormalMatrix(int64_t num_rows, int64_t num_columns,
                              uint64_t seed);

// The same with orthonormal rows, num_rows <= num_columns: a subspace drawn
// uniformly. May throw.
at::Tensor RandomOrthonormalRows(int64_t num_rows, int64_t num_columns,
                                 uint64_t seed);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_RANDOM_MATRIX_H_
