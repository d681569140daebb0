// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Where a command prints: its result on standard output, what it says about
// the run on standard error.
#ifndef INFLUENCE_CLI_CONSOLE_H_
#define INFLUENCE_CLI_CONSOLE_H_

#include <memory>
#include <mutex>
#include <ostream>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/progress.h"
#include "base/stall_watch.h"
#include "cli/terminal_progress.h"

namespace influence {

class Console {
 public:
  // Borrows the streams, which must outlive this object. `progress` says what
  // kind of place `err` is. `quiet` silences Say() and Progress().
  Console(std::ostream* out, std::ostream* err,
          const TerminalProgressOptions& progress, bool quiet,
          const StallWatchOptions& stalls = {});

  // A line of its own on standard error: "influence: <text>".
  void Say(absl::string_view text);

  // Null if quiet. Where there is none for a minute, a line says so.
  ProgressReporter* Progress() { return watch_.get(); }

  // Text on standard output. kUnavailable if it cannot be written.
  absl::Status Print(absl::string_view text);

 private:
  std::ostream* out_;
  std::ostream* err_;
  bool quiet_;
  std::mutex err_mutex_;  // The watch writes from a thread of its own.
  std::unique_ptr<TerminalProgress> progress_;
  std::unique_ptr<StallWatch> watch_;
};

}  // namespace influence

#endif  // INFLUENCE_CLI_CONSOLE_H_
