// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The experiment's results as lines of text for a terminal.
#ifndef INFLUENCE_EXAMPLES_DIGITS_SUMMARY_TEXT_H_
#define INFLUENCE_EXAMPLES_DIGITS_SUMMARY_TEXT_H_

#include <string>

#include "examples/digits/digits_experiment.h"

namespace influence {

// Plain ASCII; each line ends in a line feed and has at most 80 columns.
std::string SummaryText(const DigitsExperiment& experiment);

}  // namespace influence

#endif  // INFLUENCE_EXAMPLES_DIGITS_SUMMARY_TEXT_H_
