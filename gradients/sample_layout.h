// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// How the samples of a batch lie in a tensor, and how that changes when the
// tensor is seen in another shape. All of it is arithmetic on shapes: nothing
// is guessed from values.
#ifndef INFLUENCE_GRADIENTS_SAMPLE_LAYOUT_H_
#define INFLUENCE_GRADIENTS_SAMPLE_LAYOUT_H_

#include <cstdint>
#include <optional>

#include "ATen/core/Tensor.h"
#include "gradients/sample_axis.h"

namespace influence {

// Dimension `dim` has the length outer * N * inner for a batch of N >= 2
// samples; its element (o * N + n) * inner + i belongs to sample n.
struct SampleLayout {
  int64_t dim = 0;  // Counted from the front.
  int64_t outer = 1;
  int64_t inner = 1;

  int64_t Length(int64_t num_samples) const {
    return outer * num_samples * inner;
  }
};

inline bool operator==(const SampleLayout& a, const SampleLayout& b) {
  return a.dim == b.dim && a.outer == b.outer && a.inner == b.inner;
}
inline bool operator!=(const SampleLayout& a, const SampleLayout& b) {
  return !(a == b);
}

// What is known of a tensor: each element belongs to one sample and depends on
// that sample alone (has_samples), or no element depends on a sample.
struct SampleFlow {
  bool has_samples = false;
  SampleLayout layout;  // If has_samples.
  // Without samples: bit d is set unless all elements along dimension d are
  // known to be equal.
  uint64_t varies = 0;
  // Elements of unknown samples: whoever reads them mixes.
  bool opaque = false;
};

// All dimensions of more than one element.
uint64_t AllVary(at::IntArrayRef shape);

// The layout after a tensor of shape `from` is seen, in row-major order of its
// elements, as one of shape `to` (of as many elements); nullopt where no
// dimension of `to` holds the samples as a layout describes them.
std::optional<SampleLayout> LayoutOfView(const SampleLayout& layout,
                                         at::IntArrayRef from,
                                         at::IntArrayRef to,
                                         int64_t num_samples);

// SampleFlow::varies after the same change.
uint64_t VariesOfView(uint64_t varies, at::IntArrayRef from,
                      at::IntArrayRef to);

// The layout as layer rules take it; nullopt where it has both an outer and an
// inner part.
std::optional<SampleAxis> AxisOf(const SampleLayout& layout);

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_SAMPLE_LAYOUT_H_
