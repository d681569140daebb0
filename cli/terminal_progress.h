// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Progress for people: a bar with rate and time left where there is a terminal,
// a plain line now and then where there is a file or a pipe.
#ifndef INFLUENCE_CLI_TERMINAL_PROGRESS_H_
#define INFLUENCE_CLI_TERMINAL_PROGRESS_H_

#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/progress.h"

namespace influence {

struct TerminalProgressOptions {
  bool is_terminal = false;
  int columns = 80;  // Of the terminal; >= 40. A line never reaches the last.
  absl::Duration redraw_interval = absl::Milliseconds(100);  // Of the bar.
  absl::Duration line_interval = absl::Seconds(10);  // Between plain lines.
  std::function<absl::Time()> clock = absl::Now;
};

// Writes to one stream. A stage inside another takes over the line until it
// ends. Not thread-safe.
class TerminalProgress : public ProgressReporter {
 public:
  // Borrows `out`, which must outlive this object.
  TerminalProgress(std::ostream* out, TerminalProgressOptions options);

  void Begin(absl::string_view stage, int64_t total,
             absl::string_view unit) override;
  void Advance(int64_t steps) override;

  // Leaves one line "influence: <stage>: <done> <unit> in <time>".
  void End() override;

 private:
  struct Stage {
    std::string name;
    std::string unit;
    int64_t total;
    int64_t done;
    absl::Time start;
    absl::Time last_drawn;
  };

  void DrawBar(const Stage& stage, absl::Time now);
  void WriteLine(const Stage& stage, absl::Time now);

  std::ostream* out_;
  TerminalProgressOptions options_;
  std::vector<Stage> stages_;  // The innermost is last.
  int64_t drawn_width_ = 0;    // Of the bar that is on the terminal.
};

// What a terminal at file descriptor `descriptor` needs: is it one, and how
// wide.
TerminalProgressOptions DetectTerminal(int descriptor);

// "4.2 s", "3 min 20 s", "2 h 5 min".
std::string DurationText(absl::Duration duration);

}  // namespace influence

#endif  // INFLUENCE_CLI_TERMINAL_PROGRESS_H_
