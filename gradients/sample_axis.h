// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Where the samples of a batch lie in an intermediate tensor of a model.
#ifndef INFLUENCE_GRADIENTS_SAMPLE_AXIS_H_
#define INFLUENCE_GRADIENTS_SAMPLE_AXIS_H_

#include <cstdint>

#include "ATen/core/Tensor.h"

namespace influence {

// Dimension `dim` has the length N * repeats for a batch of N samples, and
// element i of it belongs to
//   sample i / repeats   if sample_major (a reshape of [N, T, ...]), or to
//   sample i % N         if not          (a reshape of [T, N, ...]).
struct SampleAxis {
  int64_t dim = 0;  // Counted from the front.
  int64_t repeats = 1;
  bool sample_major = true;
};

// tensor [..., N * repeats (at axis.dim), ...] -> [N, T, F], where F is the
// product of the last `num_features` dimensions and T that of all others. A
// view where the strides allow. Requires axis.dim < tensor.dim() -
// num_features.
at::Tensor SamplesFirst(const at::Tensor& tensor, const SampleAxis& axis,
                        int64_t num_samples, int64_t num_features);

// Sums tensor over all positions that broadcasting would give to one element of
// a parameter: `parameter_shape` has tensor's number of dimensions, each equal
// to the tensor's or 1, and 1 at axis.dim. Returns [N, number of elements of
// the parameter], row-major in parameter_shape.
at::Tensor SumToParameter(const at::Tensor& tensor,
                          at::IntArrayRef parameter_shape,
                          const SampleAxis& axis, int64_t num_samples);

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_SAMPLE_AXIS_H_
