// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The version of this program and of what it computes with.
#ifndef INFLUENCE_CLI_VERSION_H_
#define INFLUENCE_CLI_VERSION_H_

#include <string>

#include "absl/strings/string_view.h"

namespace influence {

inline constexpr absl::string_view kVersion = "0.1.0";

// "influence 0.1.0 (LibTorch 2.13.0)".
std::string VersionText();

}  // namespace influence

#endif  // INFLUENCE_CLI_VERSION_H_
