// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// How an operator's argument, a view of a trainable parameter, lies in the
// parameter's memory. Layer rules need views whose elements are a contiguous
// range of the parameter.
#ifndef INFLUENCE_GRADIENTS_PARAMETER_VIEW_H_
#define INFLUENCE_GRADIENTS_PARAMETER_VIEW_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "ATen/core/Tensor.h"

namespace influence {

// A view as `groups` matrices [rows, columns], one after the other in memory,
// each row-major, or column-major if `transposed`.
struct MatrixView {
  int64_t groups;
  int64_t rows;
  int64_t columns;
  bool transposed;
};

// The view of a matrix [rows, columns], or of a stack of matrices
// [groups, rows, columns]; a stack that repeats one matrix (stride 0) counts as
// that one matrix. nullopt for other shapes and strides.
std::optional<MatrixView> AsMatrixView(const at::Tensor& view);

// The shape of a row-major view as it is broadcast against `output_shape`: as
// many dimensions as the output, 1 where the view is repeated (also where its
// own stride is 0). nullopt if the view is not row-major or does not broadcast.
std::optional<std::vector<int64_t>> BroadcastShape(
    const at::Tensor& view, at::IntArrayRef output_shape);

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_PARAMETER_VIEW_H_
