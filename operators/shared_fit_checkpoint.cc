// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/shared_fit_checkpoint.h"

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/full.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/broadcast.h"
#include "base/communicator.h"
#include "base/status_macros.h"

namespace influence {
namespace {

// How many arrays follow where there is nothing, not even a stage without any.
constexpr int64_t kNothing = -1;

}  // namespace

absl::StatusOr<std::optional<std::vector<at::Tensor>>>
SharedFitCheckpoint::Find(absl::string_view stage) const {
  absl::StatusOr<std::optional<std::vector<at::Tensor>>> found = std::nullopt;
  if (keeps()) found = kept_->Find(stage);
  INFLUENCE_RETURN_IF_ERROR(
      BroadcastStatus(*communicator_, found.status(), /*root=*/0));
  std::optional<std::vector<at::Tensor>>& arrays = *found;
  const at::Tensor count = at::full(
      {}, arrays.has_value() ? static_cast<int64_t>(arrays->size()) : kNothing,
      at::kLong);
  INFLUENCE_RETURN_IF_ERROR(communicator_->Broadcast(count, /*root=*/0));
  const auto num_arrays = count.item<int64_t>();
  if (num_arrays == kNothing) return std::nullopt;
  if (!arrays.has_value()) arrays.emplace(num_arrays);
  for (at::Tensor& array : *arrays) {
    INFLUENCE_ASSIGN_OR_RETURN(
        array, BroadcastTensor(*communicator_, array, /*root=*/0));
  }
  return found;
}

absl::Status SharedFitCheckpoint::Keep(absl::string_view stage,
                                       const std::vector<at::Tensor>& arrays) {
  return BroadcastStatus(
      *communicator_, keeps() ? kept_->Keep(stage, arrays) : absl::OkStatus(),
      /*root=*/0);
}

}  // namespace influence
