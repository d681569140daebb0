// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/terminal_progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <ostream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace influence {
namespace {

// "41 %, 12 batches/s, 3.1 s left"; without rate and time before there is one.
std::string Pace(int64_t done, int64_t total, absl::string_view unit,
                 absl::Duration elapsed) {
  const double share =
      total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1;
  std::string text = absl::StrFormat("%d %%", std::lround(100 * share));
  const double seconds = absl::ToDoubleSeconds(elapsed);
  if (done > 0 && seconds > 0) {
    const double rate = static_cast<double>(done) / seconds;
    absl::StrAppend(
        &text, absl::StrFormat(", %.3g %s/s, ", rate, unit),
        DurationText(absl::Seconds(static_cast<double>(total - done) / rate)),
        " left");
  }
  return text;
}

}  // namespace

std::string DurationText(absl::Duration duration) {
  const double seconds = absl::ToDoubleSeconds(duration);
  if (seconds < 99.5) {
    return seconds < 9.95 ? absl::StrFormat("%.1f s", seconds)
                          : absl::StrFormat("%.0f s", seconds);
  }
  const int64_t whole = std::llround(seconds);
  if (whole < 3600) {
    return absl::StrFormat("%d min %d s", whole / 60, whole % 60);
  }
  return absl::StrFormat("%d h %d min", whole / 3600, whole % 3600 / 60);
}

TerminalProgress::TerminalProgress(std::ostream* out,
                                   TerminalProgressOptions options)
    : out_(out), options_(std::move(options)) {}

void TerminalProgress::Begin(absl::string_view stage, int64_t total,
                             absl::string_view unit) {
  const absl::Time now = options_.clock();
  stages_.push_back(
      {std::string(stage), std::string(unit), total, 0, now, now});
  if (options_.is_terminal) DrawBar(stages_.back(), now);
}

void TerminalProgress::Advance(int64_t steps) {
  if (stages_.empty()) return;
  Stage& stage = stages_.back();
  stage.done += steps;
  const absl::Time now = options_.clock();
  const absl::Duration interval =
      options_.is_terminal ? options_.redraw_interval : options_.line_interval;
  if (now - stage.last_drawn < interval) return;
  stage.last_drawn = now;
  if (options_.is_terminal) {
    DrawBar(stage, now);
  } else {
    WriteLine(stage, now);
  }
}

void TerminalProgress::End() {
  if (stages_.empty()) return;
  const Stage stage = stages_.back();
  stages_.pop_back();
  if (drawn_width_ > 0) {
    *out_ << '\r' << std::string(drawn_width_, ' ') << '\r';
    drawn_width_ = 0;
  }
  *out_ << "influence: " << stage.name << ": ";
  // A stage that failed ends before its total.
  if (stage.done < stage.total) *out_ << "stopped after ";
  *out_ << stage.done << " " << stage.unit << " in "
        << DurationText(options_.clock() - stage.start) << std::endl;
}

void TerminalProgress::DrawBar(const Stage& stage, absl::Time now) {
  const std::string head = absl::StrCat("influence: ", stage.name, " [");
  const std::string tail = absl::StrCat(
      "] ", Pace(stage.done, stage.total, stage.unit, now - stage.start));
  const int64_t room =
      options_.columns - 1 - static_cast<int64_t>(head.size() + tail.size());
  const int64_t width = std::min<int64_t>(room, 40);
  std::string line;
  if (width >= 4) {
    const int64_t filled =
        stage.total > 0
            ? std::clamp<int64_t>(width * stage.done / stage.total, 0, width)
            : width;
    line = absl::StrCat(head, std::string(filled, '#'),
                        std::string(width - filled, '-'), tail);
  } else {
    line = absl::StrCat(head, tail).substr(0, options_.columns - 1);
  }
  const int64_t size = line.size();
  const int64_t blank = std::max<int64_t>(drawn_width_ - size, 0);
  *out_ << '\r' << line << std::string(blank, ' ') << std::flush;
  drawn_width_ = size;
}

void TerminalProgress::WriteLine(const Stage& stage, absl::Time now) {
  *out_ << "influence: " << stage.name << ": " << stage.done << " of "
        << stage.total << " " << stage.unit << ", "
        << Pace(stage.done, stage.total, stage.unit, now - stage.start)
        << std::endl;
}

TerminalProgressOptions DetectTerminal(int descriptor) {
  TerminalProgressOptions options;
  options.is_terminal = isatty(descriptor) == 1;
  struct winsize size;
  if (options.is_terminal && ioctl(descriptor, TIOCGWINSZ, &size) == 0 &&
      size.ws_col >= 40) {
    options.columns = size.ws_col;
  }
  return options;
}

}  // namespace influence
