// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The whole experiment: train on digits of which some are mislabelled, rank the
// training images by what influence functions say, count how many wrong labels
// each ranking finds, and check predictions of influence by training again.
#ifndef INFLUENCE_EXAMPLES_DIGITS_DIGITS_EXPERIMENT_H_
#define INFLUENCE_EXAMPLES_DIGITS_DIGITS_EXPERIMENT_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/progress.h"
#include "examples/digits/digits_data.h"
#include "examples/digits/digits_influence.h"
#include "examples/digits/digits_network.h"

namespace influence {

// At a minimum of the training objective the Hessian plus the weight decay has
// no negative eigenvalue, but some next to 0 where hidden units are unused. A
// tenth more makes it well-conditioned and changes predictions little.
inline constexpr double kRegularizationFactor = 1.1;

struct DigitsExperimentOptions {
  uint64_t seed = 0;              // Of everything that is random.
  std::string method = "direct";  // One of DigitsMethodNames().
  int64_t num_train = 1500;       // The other images are held out.
  double flipped_share = 0.1;     // Of the training labels, in [0, 0.5].
  // The regularization of influence is kRegularizationFactor times this.
  double weight_decay = 0.01;
  int num_threads = 0;         // Of the fit; 0 means LibTorch's.
  int num_shown_errors = 6;    // Wrongly predicted digits that are explained.
  double cleaned_share = 0.1;  // Removed by each ranking before training anew.
};

// An order in which to inspect the training images.
struct DigitsRanking {
  std::string name;
  std::string meaning;             // One sentence: what comes first.
  std::vector<int64_t> order;      // Most suspicious first.
  std::vector<int64_t> num_found;  // [N + 1], as CountFound() makes it.
};

// A network trained anew without some of the images.
struct CleanedTraining {
  std::string name;  // By what the images were chosen.
  int64_t num_removed;
  double accuracy;   // On the held-out images.
  double mean_loss;  // On the held-out images.
};

// A held-out digit that the network gets wrong, and training images by their
// influence on its loss; strongest first.
struct ExplainedError {
  int64_t test;
  std::vector<int64_t> harmful;  // Without them the loss would fall.
  std::vector<int64_t> helpful;  // Without them the loss would rise.
};

// A prediction put to the test: training again without one image.
struct RemovalCheck {
  int64_t train;
  at::Tensor predicted;  // [M]: -> S / N, change of each held-out loss.
  at::Tensor measured;   // [M]: the change after training again.
};

struct DigitsExperiment {
  DigitsExperimentOptions options;
  MislabelledDigits digits;
  TrainedNetwork network;
  double regularization;  // lambda
  DigitsInfluence influence;
  std::vector<DigitsRanking> rankings;  // The first is self-influence.
  std::vector<CleanedTraining> cleaned;
  std::vector<ExplainedError> errors;
  std::vector<RemovalCheck> checks;
  double check_correlation;  // Of all predicted with all measured changes.
  // What took how long, in seconds, in the order of running.
  std::vector<std::pair<std::string, double>> timings;

  int64_t num_train() const { return digits.train.size(); }
  int64_t num_test() const { return digits.test.size(); }
};

// kInvalidArgument, naming the option, if one is out of range; other failures
// as they come. `progress` may be null. Half a minute of one core.
absl::StatusOr<DigitsExperiment> RunDigitsExperiment(
    const DigitImages& digits, const DigitsExperimentOptions& options,
    ProgressReporter* progress = nullptr);

}  // namespace influence

#endif  // INFLUENCE_EXAMPLES_DIGITS_DIGITS_EXPERIMENT_H_
