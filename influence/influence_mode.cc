// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/influence_mode.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace influence {

absl::string_view InfluenceModeName(InfluenceMode mode) {
  switch (mode) {
    case InfluenceMode::kUp:
      return "up";
    case InfluenceMode::kPerturbation:
      return "perturbation";
  }
  return "unknown";
}

absl::StatusOr<InfluenceMode> ParseInfluenceMode(absl::string_view name) {
  for (const InfluenceMode mode :
       {InfluenceMode::kUp, InfluenceMode::kPerturbation}) {
    if (name == InfluenceModeName(mode)) return mode;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("mode: found \"", name, "\", expected up or perturbation"));
}

}  // namespace influence
