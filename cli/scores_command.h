// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// `influence scores`: the influence of every training sample on every query.
#ifndef INFLUENCE_CLI_SCORES_COMMAND_H_
#define INFLUENCE_CLI_SCORES_COMMAND_H_

#include "absl/status/status.h"
#include "cli/console.h"
#include "cli/options.h"

namespace influence {

// Opens the inputs, checks that options.out can be written, prints the plan,
// fits where nothing is fitted yet, writes the scores tile by tile and lets the
// output appear when it is complete; then says what must be known to read it
// (result_summary.h). After an error there is nothing new on the disk.
absl::Status RunScores(const ScoresOptions& options, Console& console);

}  // namespace influence

#endif  // INFLUENCE_CLI_SCORES_COMMAND_H_
