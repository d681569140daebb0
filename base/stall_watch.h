// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Tells of a computation that makes no progress, so that whoever waits knows
// whether it is slow or stuck, and where.
#ifndef INFLUENCE_BASE_STALL_WATCH_H_
#define INFLUENCE_BASE_STALL_WATCH_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/progress.h"

namespace influence {

struct StallWatchOptions {
  // > 0: without progress for so long it tells for the first time, and again
  // after twice, four times, ... as long.
  absl::Duration first = absl::Seconds(60);
};

// Hands everything on to another reporter and watches the innermost stage:
//
//   no progress for 60 s in "curvature" (3 of 8 batches done)
//
// It only tells, and stops nothing. One thread of its own, from the first stage
// on, which sleeps until there might be something to tell.
class StallWatch : public ProgressReporter {
 public:
  // Borrows `reporter`, which must outlive this object. `tell` gets the text;
  // it is called in the thread of this object, never while `reporter` is.
  StallWatch(ProgressReporter* reporter,
             std::function<void(absl::string_view text)> tell,
             const StallWatchOptions& options = {});
  ~StallWatch() override;
  StallWatch(const StallWatch&) = delete;
  StallWatch& operator=(const StallWatch&) = delete;

  void Begin(absl::string_view stage, int64_t total,
             absl::string_view unit) override;
  void Advance(int64_t steps) override;
  void End() override;

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace influence

#endif  // INFLUENCE_BASE_STALL_WATCH_H_
