// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/sample_axis.h"

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "base/status_macros.h"

namespace influence {
namespace {

int64_t Product(at::IntArrayRef sizes) {
  int64_t product = 1;
  for (const int64_t size : sizes) product *= size;
  return product;
}

// [before, N * repeats, after] -> [N, before, repeats, after].
at::Tensor SplitSamples(const at::Tensor& tensor, const SampleAxis& axis,
                        int64_t num_samples) {
  INFLUENCE_CHECK(tensor.size(1) == num_samples * axis.repeats);
  if (axis.sample_major) {
    return tensor
        .reshape({tensor.size(0), num_samples, axis.repeats, tensor.size(2)})
        .permute({1, 0, 2, 3});
  }
  return tensor
      .reshape({tensor.size(0), axis.repeats, num_samples, tensor.size(2)})
      .permute({2, 0, 1, 3});
}

}  // namespace

at::Tensor SamplesFirst(const at::Tensor& tensor, const SampleAxis& axis,
                        int64_t num_samples, int64_t num_features) {
  const at::IntArrayRef sizes = tensor.sizes();
  const int64_t num_leading = tensor.dim() - num_features;
  INFLUENCE_CHECK(axis.dim < num_leading);
  const int64_t features = Product(sizes.slice(num_leading));
  const int64_t before = Product(sizes.slice(0, axis.dim));
  const int64_t between =
      Product(sizes.slice(axis.dim + 1, num_leading - axis.dim - 1));
  const at::Tensor split = SplitSamples(
      tensor.reshape({before, sizes[axis.dim], between * features}), axis,
      num_samples);
  return split.reshape(
      {num_samples, before * axis.repeats * between, features});
}

at::Tensor SumToParameter(const at::Tensor& tensor,
                          at::IntArrayRef parameter_shape,
                          const SampleAxis& axis, int64_t num_samples) {
  const at::IntArrayRef sizes = tensor.sizes();
  INFLUENCE_CHECK(parameter_shape.size() == sizes.size());
  INFLUENCE_CHECK(parameter_shape[axis.dim] == 1);
  std::vector<int64_t> summed;
  for (int64_t d = 0; d < tensor.dim(); ++d) {
    if (d != axis.dim && parameter_shape[d] == 1 && sizes[d] != 1) {
      summed.push_back(d);
    }
  }
  const at::Tensor sums =
      summed.empty() ? tensor : tensor.sum(summed, /*keepdim=*/true);
  const at::IntArrayRef kept = sums.sizes();
  const at::Tensor split = SplitSamples(
      sums.reshape({Product(kept.slice(0, axis.dim)), kept[axis.dim],
                    Product(kept.slice(axis.dim + 1))}),
      axis, num_samples);  // [N, before, repeats, after]
  return (axis.repeats == 1 ? split.select(2, 0) : split.sum(2))
      .reshape({num_samples, Product(parameter_shape)});
}

}  // namespace influence
