// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What a long fit has found so far, stage by stage, kept where a later run of
// the same fit finds it: finished passes over the data are not made again. That
// it is the same fit (model, data, options) is for the owner to see to.
#ifndef INFLUENCE_OPERATORS_FIT_CHECKPOINT_H_
#define INFLUENCE_OPERATORS_FIT_CHECKPOINT_H_

#include <optional>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace influence {

// Used by one fit at a time, in the thread that runs it.
class FitCheckpoint {
 public:
  virtual ~FitCheckpoint() = default;

  // What Keep() was given for `stage`, by this or an earlier run, bit for bit;
  // nothing if it was not. kDataLoss if it is damaged.
  virtual absl::StatusOr<std::optional<std::vector<at::Tensor>>> Find(
      absl::string_view stage) const = 0;

  // Keeps the result of a stage, once: float32, float64 or int64 of any shape.
  // Whole or not at all, whatever comes in between.
  virtual absl::Status Keep(absl::string_view stage,
                            const std::vector<at::Tensor>& arrays) = 0;
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_FIT_CHECKPOINT_H_
