// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Runs the real `influence` program. A test that uses this needs
// //cli:influence as data.
#ifndef INFLUENCE_TESTS_SUPPORT_INFLUENCE_COMMAND_H_
#define INFLUENCE_TESTS_SUPPORT_INFLUENCE_COMMAND_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace influence {

struct CommandResult {
  int exit_code;    // 128 + signal if a signal ended it.
  std::string out;  // What it wrote to standard output.
  std::string err;  // And to standard error.
};

// The program, running. Its standard streams go to files.
class RunningInfluence {
 public:
  // `out`: where standard output goes, a temporary file where empty.
  explicit RunningInfluence(const std::vector<std::string>& arguments,
                            std::string out = "");

  // Kills it if Wait() has not been called.
  ~RunningInfluence();
  RunningInfluence(const RunningInfluence&) = delete;
  RunningInfluence& operator=(const RunningInfluence&) = delete;

  // Until standard error contains `text` or the program has ended; false if it
  // ended without.
  bool WaitForError(absl::string_view text);

  void Signal(int signal);

  CommandResult Wait();

 private:
  std::string out_path_;
  std::string err_path_;
  int process_;      // 0 after it has been waited for.
  int status_ = -1;  // As of waitpid().
};

// Runs it to its end.
CommandResult RunInfluence(const std::vector<std::string>& arguments,
                           std::string out = "");

// The command line as a list: Words("scores --json", {"--out", path}).
std::vector<std::string> Words(absl::string_view line,
                               const std::vector<std::string>& more = {});

// The bytes of a file; empty if there is none.
std::string ReadText(const std::string& path);

}  // namespace influence

#endif  // INFLUENCE_TESTS_SUPPORT_INFLUENCE_COMMAND_H_
