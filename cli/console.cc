// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/console.h"

#include <memory>
#include <ostream>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "cli/terminal_progress.h"

namespace influence {

Console::Console(std::ostream* out, std::ostream* err,
                 const TerminalProgressOptions& progress, bool quiet)
    : out_(out), err_(err), quiet_(quiet) {
  if (!quiet) progress_ = std::make_unique<TerminalProgress>(err, progress);
}

void Console::Say(absl::string_view text) {
  if (quiet_) return;
  *err_ << "influence: " << text << std::endl;
}

absl::Status Console::Print(absl::string_view text) {
  *out_ << text << std::flush;
  if (out_->good()) return absl::OkStatus();
  return absl::UnavailableError(
      "standard output: found a closed or full one, expected to write the "
      "result to it");
}

}  // namespace influence
