// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// How a long computation tells how far it is. The library reports through this
// interface only and prints nothing by itself.
#ifndef INFLUENCE_BASE_PROGRESS_H_
#define INFLUENCE_BASE_PROGRESS_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace influence {

// Receives the progress of one computation at a time: Begin(), any number of
// Advance(), End(), never two at once, of whatever threads.
class ProgressReporter {
 public:
  virtual ~ProgressReporter() = default;

  // A stage of `total` >= 0 steps starts. `stage` is a short noun ("fit") and
  // `unit` what one step is ("batches").
  virtual void Begin(absl::string_view stage, int64_t total,
                     absl::string_view unit) = 0;

  // `steps` more steps are done.
  virtual void Advance(int64_t steps) = 0;

  // The stage is over; also called after a failure.
  virtual void End() = 0;
};

// Brackets a stage: Begin() on construction, End() on destruction. A null
// reporter is allowed and makes every call do nothing.
class ProgressStage {
 public:
  // Borrows `reporter`, which must outlive this object.
  ProgressStage(ProgressReporter* reporter, absl::string_view stage,
                int64_t total, absl::string_view unit);
  ~ProgressStage();
  ProgressStage(const ProgressStage&) = delete;
  ProgressStage& operator=(const ProgressStage&) = delete;

  void Advance(int64_t steps = 1);

 private:
  ProgressReporter* reporter_;  // Borrowed, may be null.
};

}  // namespace influence

#endif  // INFLUENCE_BASE_PROGRESS_H_
