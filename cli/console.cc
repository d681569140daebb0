// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/console.h"

#include <memory>
#include <mutex>
#include <ostream>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/stall_watch.h"
#include "cli/terminal_progress.h"

namespace influence {

Console::Console(std::ostream* out, std::ostream* err,
                 const TerminalProgressOptions& progress, bool quiet,
                 const StallWatchOptions& stalls)
    : out_(out), err_(err), quiet_(quiet) {
  if (quiet) return;
  progress_ = std::make_unique<TerminalProgress>(err, progress);
  watch_ = std::make_unique<StallWatch>(
      progress_.get(),
      [this, is_terminal = progress.is_terminal](absl::string_view text) {
        const std::lock_guard<std::mutex> lock(err_mutex_);
        // A bar stays where it is, above the line.
        *err_ << (is_terminal ? "\n" : "") << "influence: " << text
              << std::endl;
      },
      stalls);
}

void Console::Say(absl::string_view text) {
  if (quiet_) return;
  const std::lock_guard<std::mutex> lock(err_mutex_);
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
