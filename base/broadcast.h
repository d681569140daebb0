// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What one rank has found out, for the others, which need not know how large it
// is or that it has failed.
#ifndef INFLUENCE_BASE_BROADCAST_H_
#define INFLUENCE_BASE_BROADCAST_H_

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/communicator.h"

namespace influence {

// Collective: the status that rank `root` has passed, code and message; errors
// of the communicator.
absl::Status BroadcastStatus(Communicator& communicator,
                             const absl::Status& status, int root);

// Collective: the tensor that rank `root` has passed, of whatever shape, on
// `root` itself the same one; what the others pass is not looked at. float32,
// float64 or int64, on the CPU; kInvalidArgument else.
absl::StatusOr<at::Tensor> BroadcastTensor(Communicator& communicator,
                                           const at::Tensor& tensor, int root);

}  // namespace influence

#endif  // INFLUENCE_BASE_BROADCAST_H_
