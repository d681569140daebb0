// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "examples/digits/digits_experiment.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/empty.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "examples/digits/ranking.h"

namespace influence {
namespace {

// Most helpful and most harmful images listed for an explained error.
constexpr int64_t kNumListed = 6;

// In place of TrainingOptions::gradient_tolerance: of networks that start close
// to their minimum, and of those that are only asked how well they do.
constexpr double kRemovalGradientTolerance = 1e-6;
constexpr double kCleanedGradientTolerance = 1e-5;

absl::Status ValidateOptions(const DigitsExperimentOptions& options) {
  INFLUENCE_RETURN_IF_ERROR(
      ValidatePositive("weight_decay", options.weight_decay));
  if (options.num_shown_errors < 0) {
    return absl::InvalidArgumentError(absl::StrCat("num_shown_errors: found ",
                                                   options.num_shown_errors,
                                                   ", expected at least 0"));
  }
  if (!(options.cleaned_share > 0 && options.cleaned_share < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("cleaned_share: found ", options.cleaned_share,
                     ", expected a number between 0 and 1"));
  }
  return absl::OkStatus();
}

absl::Status AddRanking(std::string name, std::string meaning,
                        const at::Tensor& suspicion,
                        DigitsExperiment& experiment) {
  INFLUENCE_ASSIGN_OR_RETURN(std::vector<int64_t> order,
                             OrderByDescending(suspicion));
  INFLUENCE_ASSIGN_OR_RETURN(std::vector<int64_t> num_found,
                             CountFound(order, experiment.digits.flipped));
  experiment.rankings.push_back({std::move(name), std::move(meaning),
                                 std::move(order), std::move(num_found)});
  return absl::OkStatus();
}

absl::Status AddRankings(DigitsExperiment& experiment) {
  const DigitsInfluence& influence = experiment.influence;
  INFLUENCE_RETURN_IF_ERROR(
      AddRanking("self-influence",
                 "images first whose own loss would rise most without them: "
                 "nothing else supports their label",
                 influence.self_influence, experiment));
  INFLUENCE_RETURN_IF_ERROR(AddRanking(
      "harm to held-out digits",
      "images first without which the loss on all held-out digits would fall "
      "most",
      influence.scores.sum(0).neg(), experiment));
  INFLUENCE_RETURN_IF_ERROR(
      AddRanking("self-influence, identity",
                 "the same as the first without any curvature: the squared "
                 "length of the gradient",
                 influence.identity_self_influence, experiment));
  INFLUENCE_RETURN_IF_ERROR(AddRanking(
      "harm, identity", "the same as the second without any curvature",
      influence.identity_scores.sum(0).neg(), experiment));
  INFLUENCE_RETURN_IF_ERROR(
      AddRanking("loss", "images first that the network fits worst",
                 influence.train_losses, experiment));
  return absl::OkStatus();
}

absl::StatusOr<CleanedTraining> TrainCleaned(
    std::string name, const std::vector<int64_t>& removed,
    const DigitsExperiment& experiment, const TrainingOptions& training) {
  std::vector<bool> is_removed(experiment.num_train(), false);
  for (const int64_t n : removed) is_removed[n] = true;
  at::Tensor kept =
      at::empty({experiment.num_train() - static_cast<int64_t>(removed.size())},
                at::kLong);
  int64_t* next = kept.data_ptr<int64_t>();
  for (int64_t n = 0; n < experiment.num_train(); ++n) {
    if (!is_removed[n]) *next++ = n;
  }
  const DigitImages& train = experiment.digits.train;
  INFLUENCE_ASSIGN_OR_RETURN(const TrainedNetwork network,
                             TrainNetwork({{train.x[0].index_select(0, kept)},
                                           train.y.index_select(0, kept)},
                                          training));
  INFLUENCE_ASSIGN_OR_RETURN(
      const DigitPredictions predictions,
      PredictDigits(*network.model, experiment.digits.test));
  return CleanedTraining{
      std::move(name), static_cast<int64_t>(removed.size()),
      Accuracy(predictions.probabilities, experiment.digits.test.y),
      predictions.losses.mean().item<double>()};
}

// The held-out digits that the network gets wrong, the highest loss first.
absl::Status ExplainErrors(DigitsExperiment& experiment) {
  const DigitsInfluence& influence = experiment.influence;
  const at::Tensor is_wrong =
      influence.test_probabilities.argmax(1).ne(experiment.digits.test.y);
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::vector<int64_t> by_loss,
      OrderByDescending(influence.test_losses.mul(is_wrong)));
  const int64_t num_shown = std::min<int64_t>(
      experiment.options.num_shown_errors, is_wrong.sum().item<int64_t>());
  for (int64_t e = 0; e < num_shown; ++e) {
    ExplainedError error;
    error.test = by_loss[e];
    INFLUENCE_ASSIGN_OR_RETURN(const std::vector<int64_t> by_help,
                               OrderByDescending(influence.scores[error.test]));
    const int64_t num_listed =
        std::min<int64_t>(kNumListed, experiment.num_train() / 2);
    error.helpful.assign(by_help.begin(), by_help.begin() + num_listed);
    error.harmful.assign(by_help.rbegin(), by_help.rbegin() + num_listed);
    experiment.errors.push_back(std::move(error));
  }
  return absl::OkStatus();
}

// Trains again without the most helpful and the most harmful image of each
// explained error.
absl::Status CheckRemovals(const TrainingOptions& training,
                           ProgressReporter* progress,
                           DigitsExperiment& experiment) {
  std::set<int64_t> chosen;
  for (const ExplainedError& error : experiment.errors) {
    chosen.insert(error.helpful.front());
    chosen.insert(error.harmful.front());
  }
  ProgressStage stage(progress, "training without one image",
                      static_cast<int64_t>(chosen.size()), "networks");
  std::vector<at::Tensor> predicted;
  std::vector<at::Tensor> measured;
  for (const int64_t n : chosen) {
    INFLUENCE_ASSIGN_OR_RETURN(
        const TrainedNetwork without,
        RetrainWithout(experiment.network, experiment.digits.train, {n},
                       training));
    INFLUENCE_ASSIGN_OR_RETURN(
        const DigitPredictions predictions,
        PredictDigits(*without.model, experiment.digits.test));
    RemovalCheck check = {
        .train = n,
        .predicted = experiment.influence.scores.select(1, n).div(
            static_cast<double>(experiment.num_train())),
        .measured = predictions.losses.sub(experiment.influence.test_losses)};
    predicted.push_back(check.predicted);
    measured.push_back(check.measured);
    experiment.checks.push_back(std::move(check));
    stage.Advance();
  }
  experiment.check_correlation =
      predicted.empty() ? 0
                        : Correlation(at::cat(predicted), at::cat(measured));
  return absl::OkStatus();
}

absl::Status TrainAllCleaned(const TrainingOptions& training,
                             ProgressReporter* progress,
                             DigitsExperiment& experiment) {
  const int64_t num_removed =
      std::llround(experiment.options.cleaned_share *
                   static_cast<double>(experiment.num_train()));
  const DigitsInfluence& influence = experiment.influence;
  experiment.cleaned.push_back(
      {"nothing", 0,
       Accuracy(influence.test_probabilities, experiment.digits.test.y),
       influence.test_losses.mean().item<double>()});
  std::vector<std::pair<std::string, std::vector<int64_t>>> choices;
  for (const DigitsRanking& ranking : experiment.rankings) {
    choices.emplace_back(
        ranking.name,
        std::vector<int64_t>(ranking.order.begin(),
                             ranking.order.begin() + num_removed));
  }
  // The images were dealt at random: the first ones are a random choice.
  choices.emplace_back("random", std::vector<int64_t>());
  for (int64_t n = 0; n < num_removed; ++n) {
    choices.back().second.push_back(n);
  }
  choices.emplace_back("the wrong labels themselves", std::vector<int64_t>());
  for (int64_t n = 0; n < experiment.num_train(); ++n) {
    if (experiment.digits.flipped[n]) choices.back().second.push_back(n);
  }
  ProgressStage stage(progress, "training without the suspects",
                      static_cast<int64_t>(choices.size()), "networks");
  for (auto& [name, removed] : choices) {
    INFLUENCE_ASSIGN_OR_RETURN(
        CleanedTraining cleaned,
        TrainCleaned(name, removed, experiment, training));
    experiment.cleaned.push_back(std::move(cleaned));
    stage.Advance();
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DigitsExperiment> RunDigitsExperiment(
    const DigitImages& digits, const DigitsExperimentOptions& options,
    ProgressReporter* progress) {
  INFLUENCE_RETURN_IF_ERROR(ValidateOptions(options));
  return CatchTorch("digits", [&]() -> absl::StatusOr<DigitsExperiment> {
    absl::Time start = absl::Now();
    DigitsExperiment experiment;
    const auto lap = [&](std::string what) {
      const absl::Time now = absl::Now();
      experiment.timings.emplace_back(std::move(what),
                                      absl::ToDoubleSeconds(now - start));
      start = now;
    };
    experiment.options = options;
    experiment.regularization = kRegularizationFactor * options.weight_decay;
    INFLUENCE_ASSIGN_OR_RETURN(
        experiment.digits,
        MakeMislabelledDigits(digits, {.num_train = options.num_train,
                                       .flipped_share = options.flipped_share,
                                       .seed = options.seed}));
    const TrainingOptions training = {.weight_decay = options.weight_decay,
                                      .seed = options.seed};
    {
      ProgressStage stage(progress, "training", 1, "network");
      INFLUENCE_ASSIGN_OR_RETURN(
          experiment.network, TrainNetwork(experiment.digits.train, training));
      stage.Advance();
    }
    lap("training the network");

    INFLUENCE_ASSIGN_OR_RETURN(
        experiment.influence,
        ComputeDigitsInfluence(experiment.network.model,
                               experiment.digits.train, experiment.digits.test,
                               {.method = options.method,
                                .regularization = experiment.regularization,
                                .num_threads = options.num_threads},
                               progress));
    const DigitsInfluence& influence = experiment.influence;
    experiment.timings.emplace_back("influence: fit", influence.fit_seconds);
    experiment.timings.emplace_back("influence: scores on held-out digits",
                                    influence.score_seconds);
    experiment.timings.emplace_back("influence: self-influence",
                                    influence.self_seconds);
    experiment.timings.emplace_back("influence: scores with the identity",
                                    influence.identity_score_seconds);
    INFLUENCE_RETURN_IF_ERROR(AddRankings(experiment));
    INFLUENCE_RETURN_IF_ERROR(ExplainErrors(experiment));
    start = absl::Now();

    TrainingOptions coarse = training;
    coarse.gradient_tolerance = kRemovalGradientTolerance;
    INFLUENCE_RETURN_IF_ERROR(CheckRemovals(coarse, progress, experiment));
    lap("check: training without one image");
    coarse.gradient_tolerance = kCleanedGradientTolerance;
    INFLUENCE_RETURN_IF_ERROR(TrainAllCleaned(coarse, progress, experiment));
    lap("check: training without the suspects");
    return experiment;
  });
}

}  // namespace influence
