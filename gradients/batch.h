// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A batch of labelled samples.
#ifndef INFLUENCE_GRADIENTS_BATCH_H_
#define INFLUENCE_GRADIENTS_BATCH_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace influence {

// N samples z_n = (x_n, y_n). Row n of every tensor belongs to sample n. A copy
// shares the tensors' memory.
struct Batch {
  std::vector<at::Tensor> x;  // The model's inputs in order, each [N, ...].
  at::Tensor y;               // Labels or targets, [N, ...].

  // N, or 0 where y is undefined or has no dimension.
  int64_t size() const;
};

// Every tensor is defined and has N >= 1 rows, and no floating tensor holds a
// NaN or an infinity. kInvalidArgument naming the tensor ("x0", "y").
absl::Status ValidateBatch(const Batch& batch);

// Samples [begin, end) as views of `batch`. The range must lie in [0, N].
absl::StatusOr<Batch> SliceBatch(const Batch& batch, int64_t begin,
                                 int64_t end);

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_BATCH_H_
