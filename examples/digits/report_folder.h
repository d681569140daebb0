// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What the experiment leaves behind: the page, and the files from which the
// `influence` command computes the same scores.
#ifndef INFLUENCE_EXAMPLES_DIGITS_REPORT_FOLDER_H_
#define INFLUENCE_EXAMPLES_DIGITS_REPORT_FOLDER_H_

#include <string>

#include "absl/status/status.h"
#include "examples/digits/digits_experiment.h"
#include "examples/digits/report_page.h"

namespace influence {

// Makes `folder` where it is missing, and in it
//   model.pt             the network as TorchScript, float64
//   train/{x,y}.npy      float64 [N, 64], int64 [N]: labels as trained on
//   test/{x,y}.npy       float64 [M, 64], int64 [M]
//   true_labels.npy      int64 [N]
//   scores.npy           float64 [M, N]
//   self_influence.npy   float64 [N]
//   index.html           the page
// over what is there by these names. The page is written last, and an older one
// removed first: where there is a page, everything is complete.
absl::Status WriteReportFolder(const DigitsExperiment& experiment,
                               const ReportContext& context,
                               const std::string& folder);

}  // namespace influence

#endif  // INFLUENCE_EXAMPLES_DIGITS_REPORT_FOLDER_H_
