// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "examples/digits/digits_experiment_testing.h"

#include <string>

#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "examples/digits/digits_data.h"
#include "gradients/batch.h"

namespace influence {

absl::StatusOr<DigitsExperiment> RunSmallExperiment() {
  INFLUENCE_ASSIGN_OR_RETURN(const std::string path, FindDigits(""));
  INFLUENCE_ASSIGN_OR_RETURN(const DigitImages all, LoadDigits(path));
  INFLUENCE_ASSIGN_OR_RETURN(const DigitImages few, SliceBatch(all, 0, 400));
  return RunDigitsExperiment(few, {.num_train = 300, .num_shown_errors = 2});
}

}  // namespace influence
