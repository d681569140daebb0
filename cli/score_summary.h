// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What must be known of a file of scores to read it: a .npy file has no place
// for it, so it is printed.
#ifndef INFLUENCE_CLI_SCORE_SUMMARY_H_
#define INFLUENCE_CLI_SCORE_SUMMARY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "cli/options.h"
#include "gradients/per_sample_function.h"
#include "influence/composable_influence.h"
#include "influence/influence_mode.h"

namespace influence {

struct ScoreSummary {
  std::vector<int64_t> shape;  // [M, N] or [M, N, *x].
  int64_t num_parameters = 0;
  int64_t num_fitted_samples = 0;
  std::vector<BlockReport> blocks;
  double covered_share = 1;  // Of P on the fast path.
  int64_t train_batch = 0;   // Samples a batch.
  int64_t passes = 0;        // Over the training data, for the scores.
  double seconds = 0;
};

// How the sign of a score is read.
struct ScoreSign {
  absl::string_view helps;  // "positive" or "negative".
  std::string meaning;      // A sentence without its full stop.
};

ScoreSign SignOfScores(InfluenceMode mode, Units units,
                       const PerSampleFunction& query_function);

// What a raw score is multiplied by: 1, or 1 / N or -1 / N for the change that
// it predicts. num_fitted_samples >= 1.
double UnitsFactor(InfluenceMode mode, Units units, int64_t num_fitted_samples);

// Lines for people, without their ends.
std::vector<std::string> SummaryLines(const ScoresOptions& options,
                                      const ScoreSummary& summary);

// One JSON object and a newline.
std::string SummaryJson(const ScoresOptions& options,
                        const ScoreSummary& summary);

}  // namespace influence

#endif  // INFLUENCE_CLI_SCORE_SUMMARY_H_
