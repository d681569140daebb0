// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/version.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "torch/version.h"

namespace influence {

std::string VersionText() {
  return absl::StrCat("influence ", kVersion, " (LibTorch ", TORCH_VERSION,
                      ")");
}

}  // namespace influence
