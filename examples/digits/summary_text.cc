// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "examples/digits/summary_text.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "examples/digits/digits_methods.h"
#include "examples/digits/ranking.h"

namespace influence {

std::string SummaryText(const DigitsExperiment& experiment) {
  const DigitsInfluence& influence = experiment.influence;
  std::string definiteness;
  if (experiment.options.method == "direct") {
    definiteness = influence.smallest_eigenvalue.has_value()
                       ? ", indefinite"
                       : ", positive definite";
  }
  std::string text = absl::StrFormat(
      "%d training images, %d of their labels flipped, %d held out; seed %d\n"
      "network 64-32-10 tanh, %d parameters, float64; %.1f %% of the held-out\n"
      "digits recognised\n"
      "trained with weight decay %g; influence: %s, %s,\n"
      "regularization %g%s\n\n",
      experiment.num_train(), experiment.digits.num_flipped,
      experiment.num_test(), experiment.options.seed,
      influence.coverage.num_parameters(),
      100 * Accuracy(influence.test_probabilities, experiment.digits.test.y),
      experiment.options.weight_decay, experiment.options.method,
      DigitsMethodSettings(experiment.options.method),
      experiment.regularization, definiteness);
  absl::StrAppendFormat(&text, "%-34s%12s%12s%12s\n",
                        "wrong labels found among the", "first 5 %",
                        "first 10 %", "first 20 %");
  const auto percent = [](double share) {
    return absl::StrFormat("%.1f %%", 100 * share);
  };
  for (const DigitsRanking& ranking : experiment.rankings) {
    absl::StrAppendFormat(&text, "  by %-29s%12s%12s%12s\n", ranking.name,
                          percent(ShareFound(ranking.num_found, 0.05)),
                          percent(ShareFound(ranking.num_found, 0.1)),
                          percent(ShareFound(ranking.num_found, 0.2)));
  }
  absl::StrAppendFormat(&text, "  %-32s%12s%12s%12s\n",
                        "in random order, on average", percent(0.05),
                        percent(0.1), percent(0.2));
  if (!experiment.checks.empty()) {
    absl::StrAppendFormat(
        &text,
        "\nchange of loss, predicted and measured by training again without "
        "one image:\n  correlation %.3f (%d images left out, %d digits each)\n",
        experiment.check_correlation, experiment.checks.size(),
        experiment.num_test());
  }
  absl::StrAppendFormat(&text, "\n%-34s%12s%12s%12s\n",
                        "trained anew without images, by", "left out",
                        "mean loss", "recognised");
  for (const CleanedTraining& cleaned : experiment.cleaned) {
    absl::StrAppendFormat(&text, "  %-32s%12d%12.3f%12s\n", cleaned.name,
                          cleaned.num_removed, cleaned.mean_loss,
                          percent(cleaned.accuracy));
  }
  text += "\nseconds\n";
  for (const auto& [step, seconds] : experiment.timings) {
    absl::StrAppendFormat(&text, "  %-44s%12.2f\n", step, seconds);
  }
  return text;
}

}  // namespace influence
