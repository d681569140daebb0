// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A small experiment for tests of what is made of one.
#ifndef INFLUENCE_EXAMPLES_DIGITS_DIGITS_EXPERIMENT_TESTING_H_
#define INFLUENCE_EXAMPLES_DIGITS_DIGITS_EXPERIMENT_TESTING_H_

#include "absl/status/statusor.h"
#include "examples/digits/digits_experiment.h"

namespace influence {

// 300 training images, 30 of them mislabelled, and 100 held out; two errors
// explained. For tests run by Bazel, which sets where the digits are.
absl::StatusOr<DigitsExperiment> RunSmallExperiment();

}  // namespace influence

#endif  // INFLUENCE_EXAMPLES_DIGITS_DIGITS_EXPERIMENT_TESTING_H_
