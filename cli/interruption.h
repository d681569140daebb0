// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Ctrl-C and its like: the process ends at once, with one error line and exit
// code 1, and takes the unfinished output along unless it is worth keeping. A
// computation need not look out for it.
#ifndef INFLUENCE_CLI_INTERRUPTION_H_
#define INFLUENCE_CLI_INTERRUPTION_H_

#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"

namespace influence {

// From here on SIGINT, SIGTERM and SIGHUP (unless it was ignored, as nohup
// does) end the process as described, from a thread of its own. Call once,
// before any other thread is started.
void HandleInterruptions();

// From here on SIGTERM ends the process without a line: whoever sends it to all
// ranks of a job has said why.
void ExpectTermination();

// A file, or a folder with all that is in it, that must not outlive an
// interruption. One at a time in a process.
class InterruptibleFile {
 public:
  // Calls `create`, whose result is the path of what it made. No interruption
  // comes between the creation and the end of this call.
  static absl::StatusOr<std::unique_ptr<InterruptibleFile>> Create(
      absl::FunctionRef<absl::StatusOr<std::string>()> create);

  // From here on an interruption leaves the file where it is and says so:
  // another run can go on with it.
  void Keep();

  // The file has been dealt with.
  ~InterruptibleFile();
  InterruptibleFile(const InterruptibleFile&) = delete;
  InterruptibleFile& operator=(const InterruptibleFile&) = delete;

 private:
  InterruptibleFile() = default;
};

}  // namespace influence

#endif  // INFLUENCE_CLI_INTERRUPTION_H_
