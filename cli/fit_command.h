// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// `influence fit`: a method fitted once, to be used often.
#ifndef INFLUENCE_CLI_FIT_COMMAND_H_
#define INFLUENCE_CLI_FIT_COMMAND_H_

#include "absl/status/status.h"
#include "cli/console.h"
#include "cli/options.h"

namespace influence {

// Opens model and data, checks that options.out can be written, prints the
// plan, fits, and lets the folder appear when it is complete; then says what
// was fitted. After an error there is nothing new on the disk.
absl::Status RunFit(const FitOptions& options, Console& console);

}  // namespace influence

#endif  // INFLUENCE_CLI_FIT_COMMAND_H_
