// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// `influence report`: scores as a page to look at.
#ifndef INFLUENCE_CLI_REPORT_COMMAND_H_
#define INFLUENCE_CLI_REPORT_COMMAND_H_

#include "absl/status/status.h"
#include "cli/console.h"
#include "cli/options.h"

namespace influence {

// Reads the scores of the first options.num_queries queries chunk by chunk,
// twice, and the samples that they point at, and writes the page. Data of
// another fingerprint than the store's are kFailedPrecondition, naming the
// file. After an error there is nothing new on the disk.
absl::Status RunReport(const ReportOptions& options, Console& console);

}  // namespace influence

#endif  // INFLUENCE_CLI_REPORT_COMMAND_H_
