// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/progress.h"

#include <cstdint>

#include "absl/strings/string_view.h"

namespace influence {

ProgressStage::ProgressStage(ProgressReporter* reporter,
                             absl::string_view stage, int64_t total,
                             absl::string_view unit)
    : reporter_(reporter) {
  if (reporter_ != nullptr) reporter_->Begin(stage, total, unit);
}

ProgressStage::~ProgressStage() {
  if (reporter_ != nullptr) reporter_->End();
}

void ProgressStage::Advance(int64_t steps) {
  if (reporter_ != nullptr) reporter_->Advance(steps);
}

}  // namespace influence
