// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The experiment as one HTML page that needs nothing else: no network, no
// script, images and charts inside.
#ifndef INFLUENCE_EXAMPLES_DIGITS_REPORT_PAGE_H_
#define INFLUENCE_EXAMPLES_DIGITS_REPORT_PAGE_H_

#include <string>

#include "absl/status/statusor.h"
#include "examples/digits/digits_experiment.h"

namespace influence {

struct ReportContext {
  std::string folder;     // The one the page is in, as a reader would type it.
  std::string libraries;  // "LibTorch 2.13.0".
  int num_threads = 1;
};

// kInternal if a chart or an image cannot be made.
absl::StatusOr<std::string> RenderReport(const DigitsExperiment& experiment,
                                         const ReportContext& context);

// The command that computes DigitsInfluence::scores from the files beside the
// page, in lines ended by a backslash.
std::string ScoresCommand(const DigitsExperiment& experiment,
                          const std::string& folder);

}  // namespace influence

#endif  // INFLUENCE_EXAMPLES_DIGITS_REPORT_PAGE_H_
