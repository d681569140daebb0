// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// `influence factors`: the queries' half of the scores, [M, P].
#ifndef INFLUENCE_CLI_FACTORS_COMMAND_H_
#define INFLUENCE_CLI_FACTORS_COMMAND_H_

#include "absl/status/status.h"
#include "cli/console.h"
#include "cli/options.h"

namespace influence {

// Opens the fit and the queries, writes the rows A^-1 grad q(z_i) batch by
// batch and lets the output appear when it is complete; then says what must be
// known to read it. After an error there is nothing new on the disk.
absl::Status RunFactors(const FactorsOptions& options, Console& console);

}  // namespace influence

#endif  // INFLUENCE_CLI_FACTORS_COMMAND_H_
