// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// `influence spectrum`: how large a regularization should be.
#ifndef INFLUENCE_CLI_SPECTRUM_COMMAND_H_
#define INFLUENCE_CLI_SPECTRUM_COMMAND_H_

#include "absl/status/status.h"
#include "cli/console.h"
#include "cli/options.h"

namespace influence {

// Prints the eigenvalues of a fit block by block, what each of
// options.regularizations does to them and, given queries, how much their
// scores depend on it: tables, or with options.json one JSON object.
absl::Status RunSpectrum(const SpectrumOptions& options, Console& console);

}  // namespace influence

#endif  // INFLUENCE_CLI_SPECTRUM_COMMAND_H_
