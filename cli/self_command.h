// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// `influence self`: the influence of every training sample on itself, [N].
#ifndef INFLUENCE_CLI_SELF_COMMAND_H_
#define INFLUENCE_CLI_SELF_COMMAND_H_

#include "absl/status/status.h"
#include "cli/console.h"
#include "cli/options.h"

namespace influence {

// Opens the fit and the training data, writes S[j, j] batch by batch and lets
// the output appear when it is complete; then says what must be known to read
// it. After an error there is nothing new on the disk.
absl::Status RunSelf(const SelfOptions& options, Console& console);

}  // namespace influence

#endif  // INFLUENCE_CLI_SELF_COMMAND_H_
