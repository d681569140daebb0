// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What is done to a training sample whose influence is asked for.
#ifndef INFLUENCE_INFLUENCE_INFLUENCE_MODE_H_
#define INFLUENCE_INFLUENCE_INFLUENCE_MODE_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace influence {

enum class InfluenceMode {
  // The sample is weighted up: g_test^T A^-1 g_train, [M, N].
  kUp,
  // Its input is moved: d/dx [g_test^T A^-1 grad l(theta; x, y)], [M, N, *x].
  kPerturbation,
};

// "up", "perturbation".
absl::string_view InfluenceModeName(InfluenceMode mode);

// kInvalidArgument listing the names for another one.
absl::StatusOr<InfluenceMode> ParseInfluenceMode(absl::string_view name);

}  // namespace influence

#endif  // INFLUENCE_INFLUENCE_INFLUENCE_MODE_H_
