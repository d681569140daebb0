// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/stall_watch.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/progress.h"

namespace influence {
namespace {

using Clock = std::chrono::steady_clock;

struct Stage {
  std::string name;
  int64_t total;
  std::string unit;
  int64_t done = 0;
};

}  // namespace

struct StallWatch::State {
  State(ProgressReporter* to, std::function<void(absl::string_view)> telling,
        absl::Duration first)
      : reporter(to),
        tell(std::move(telling)),
        first_wait(absl::ToChronoNanoseconds(first)) {}

  // After each call of the reporter.
  void NoteProgress() {
    last_progress = Clock::now();
    wait = first_wait;
  }

  void Watch();

  ProgressReporter* const reporter;
  const std::function<void(absl::string_view)> tell;
  const Clock::duration first_wait;

  std::mutex mutex;  // Guards what follows, and calls of the two above.
  std::condition_variable changed;
  std::vector<Stage> stages;  // The innermost is last.
  Clock::time_point last_progress;
  Clock::duration wait{};  // From then on, until it is told.
  bool ending = false;
  std::thread thread;
};

void StallWatch::State::Watch() {
  std::unique_lock<std::mutex> lock(mutex);
  while (!ending) {
    if (stages.empty()) {
      changed.wait(lock);
      continue;
    }
    const Clock::time_point due = last_progress + wait;
    if (Clock::now() < due) {
      changed.wait_until(lock, due);
      continue;
    }
    const Stage& stage = stages.back();
    const double seconds =
        absl::ToDoubleSeconds(absl::FromChrono(Clock::now() - last_progress));
    tell(absl::StrCat("no progress for ", absl::StrFormat("%.3g", seconds),
                      " s in \"", stage.name, "\" (", stage.done, " of ",
                      stage.total, " ", stage.unit, " done)"));
    wait *= 2;
  }
}

StallWatch::StallWatch(ProgressReporter* reporter,
                       std::function<void(absl::string_view)> tell,
                       const StallWatchOptions& options)
    : state_(
          std::make_unique<State>(reporter, std::move(tell), options.first)) {}

StallWatch::~StallWatch() {
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    state_->ending = true;
    state_->changed.notify_all();
  }
  if (state_->thread.joinable()) state_->thread.join();
}

void StallWatch::Begin(absl::string_view stage, int64_t total,
                       absl::string_view unit) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->stages.push_back({std::string(stage), total, std::string(unit)});
  state_->reporter->Begin(stage, total, unit);
  state_->NoteProgress();
  if (!state_->thread.joinable()) {
    state_->thread = std::thread([state = state_.get()] { state->Watch(); });
  }
  state_->changed.notify_all();
}

void StallWatch::Advance(int64_t steps) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  if (!state_->stages.empty()) state_->stages.back().done += steps;
  state_->reporter->Advance(steps);
  state_->NoteProgress();
}

void StallWatch::End() {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  if (!state_->stages.empty()) state_->stages.pop_back();
  state_->reporter->End();
  state_->NoteProgress();
}

}  // namespace influence
