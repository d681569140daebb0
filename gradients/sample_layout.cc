// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/sample_layout.h"

#include <cstddef>
#include <cstdint>
#include <optional>

#include "ATen/core/Tensor.h"
#include "gradients/sample_axis.h"

namespace influence {
namespace {

// Elements from one step of dimension `dim` to the next, in row-major order.
int64_t RowMajorStride(at::IntArrayRef shape, int64_t dim) {
  int64_t stride = 1;
  for (size_t d = static_cast<size_t>(dim) + 1; d < shape.size(); ++d) {
    stride *= shape[d];
  }
  return stride;
}

}  // namespace

uint64_t AllVary(at::IntArrayRef shape) {
  uint64_t varies = 0;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] > 1) varies |= uint64_t{1} << d;
  }
  return varies;
}

std::optional<SampleLayout> LayoutOfView(const SampleLayout& layout,
                                         at::IntArrayRef from,
                                         at::IntArrayRef to,
                                         int64_t num_samples) {
  // From one sample's element to the next one's.
  const int64_t step = layout.inner * RowMajorStride(from, layout.dim);
  for (size_t d = 0; d < to.size(); ++d) {
    const int64_t dim = static_cast<int64_t>(d);
    const int64_t stride = RowMajorStride(to, dim);
    if (stride == 0 || step % stride != 0) continue;
    const int64_t inner = step / stride;
    if (to[d] < num_samples * inner || to[d] % (num_samples * inner) != 0) {
      continue;
    }
    return SampleLayout{dim, to[d] / (num_samples * inner), inner};
  }
  return std::nullopt;
}

uint64_t VariesOfView(uint64_t varies, at::IntArrayRef from,
                      at::IntArrayRef to) {
  uint64_t result = 0;
  for (size_t d = 0; d < from.size(); ++d) {
    if ((varies & (uint64_t{1} << d)) == 0) continue;
    // Elements change at steps in [begin, end) of the row-major order.
    const int64_t begin = RowMajorStride(from, static_cast<int64_t>(d));
    const int64_t end = begin * from[d];
    for (size_t e = 0; e < to.size(); ++e) {
      const int64_t stride = RowMajorStride(to, static_cast<int64_t>(e));
      if (to[e] > 1 && stride < end && begin < stride * to[e]) {
        result |= uint64_t{1} << e;
      }
    }
  }
  return result;
}

std::optional<SampleAxis> AxisOf(const SampleLayout& layout) {
  if (layout.outer == 1) return SampleAxis{layout.dim, layout.inner, true};
  if (layout.inner == 1) return SampleAxis{layout.dim, layout.outer, false};
  return std::nullopt;
}

}  // namespace influence
