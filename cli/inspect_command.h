// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// `influence inspect`: what the tool sees in a model.
#ifndef INFLUENCE_CLI_INSPECT_COMMAND_H_
#define INFLUENCE_CLI_INSPECT_COMMAND_H_

#include "absl/status/status.h"
#include "cli/console.h"
#include "cli/options.h"

namespace influence {

// Prints number of parameters, blocks, coverage and self-check: a table, or
// with options.json one JSON object.
absl::Status RunInspect(const InspectOptions& options, Console& console);

}  // namespace influence

#endif  // INFLUENCE_CLI_INSPECT_COMMAND_H_
