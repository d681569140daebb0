// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "examples/digits/digits_experiment.h"

#include <cmath>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "examples/digits/digits_data.h"
#include "examples/digits/digits_experiment_testing.h"
#include "examples/digits/digits_influence.h"
#include "examples/digits/ranking.h"
#include "examples/digits/summary_text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Run once for all tests below.
const DigitsExperiment& Experiment() {
  static const auto* const experiment = [] {
    auto run = RunSmallExperiment();
    INFLUENCE_EXPECT_OK(run);
    return new DigitsExperiment(*std::move(run));
  }();
  return *experiment;
}

TEST(DigitsExperimentTest, RanksEveryTrainingImageOnce) {
  const DigitsExperiment& experiment = Experiment();
  EXPECT_EQ(experiment.num_train(), 300);
  EXPECT_EQ(experiment.num_test(), 100);
  ASSERT_EQ(experiment.rankings.size(), 5u);
  for (const DigitsRanking& ranking : experiment.rankings) {
    EXPECT_EQ(ranking.order.size(), 300u) << ranking.name;
    EXPECT_EQ(
        std::set<int64_t>(ranking.order.begin(), ranking.order.end()).size(),
        300u);
    EXPECT_EQ(ranking.num_found.back(), 30) << ranking.name;
  }
}

TEST(DigitsExperimentTest, SuspicionMeansWhatItSays) {
  const DigitsExperiment& experiment = Experiment();
  const DigitsInfluence& influence = experiment.influence;
  const auto first = [&](size_t r) {
    return experiment.rankings[r].order.front();
  };
  EXPECT_EQ(first(0), influence.self_influence.argmax().item<int64_t>());
  // Negative scores are harm: without the image the losses fall.
  EXPECT_EQ(first(1), influence.scores.sum(0).argmin().item<int64_t>());
  EXPECT_EQ(first(2),
            influence.identity_self_influence.argmax().item<int64_t>());
  EXPECT_EQ(first(3),
            influence.identity_scores.sum(0).argmin().item<int64_t>());
  EXPECT_EQ(first(4), influence.train_losses.argmax().item<int64_t>());
}

TEST(DigitsExperimentTest, FindsWrongLabelsFarBetterThanChance) {
  // A random order finds 3 of 30 among the first 30 images on average, and more
  // than 12 once in a million times (hypergeometric).
  EXPECT_GT(ShareFound(Experiment().rankings[0].num_found, 0.1), 12. / 30);
  EXPECT_GT(ShareFound(Experiment().rankings[1].num_found, 0.1), 12. / 30);
}

TEST(DigitsExperimentTest, ExplainsDigitsThatAreWronglyPredicted) {
  const DigitsExperiment& experiment = Experiment();
  const DigitsInfluence& influence = experiment.influence;
  ASSERT_EQ(experiment.errors.size(), 2u);
  for (const ExplainedError& error : experiment.errors) {
    EXPECT_NE(influence.test_probabilities[error.test].argmax().item<int64_t>(),
              experiment.digits.test.y[error.test].item<int64_t>());
    const at::Tensor scores = influence.scores[error.test];
    EXPECT_EQ(error.helpful.front(), scores.argmax().item<int64_t>());
    EXPECT_EQ(error.harmful.front(), scores.argmin().item<int64_t>());
    for (const std::vector<int64_t>* list : {&error.helpful, &error.harmful}) {
      for (size_t i = 1; i < list->size(); ++i) {
        EXPECT_GE(std::abs(scores[(*list)[i - 1]].item<double>()),
                  std::abs(scores[(*list)[i]].item<double>()));
      }
    }
  }
}

TEST(DigitsExperimentTest, PredictionsHoldWhenTrainedAgain) {
  const DigitsExperiment& experiment = Experiment();
  EXPECT_GE(experiment.checks.size(), 2u);
  EXPECT_LE(experiment.checks.size(), 4u);
  EXPECT_GT(experiment.check_correlation, 0.8);
  for (const ExplainedError& error : experiment.errors) {
    for (const RemovalCheck& check : experiment.checks) {
      if (check.train == error.harmful.front()) {
        EXPECT_LT(check.predicted[error.test].item<double>(), 0);
        EXPECT_LT(check.measured[error.test].item<double>(), 0);
      }
      if (check.train == error.helpful.front()) {
        EXPECT_GT(check.predicted[error.test].item<double>(), 0);
        EXPECT_GT(check.measured[error.test].item<double>(), 0);
      }
    }
  }
}

TEST(DigitsExperimentTest, TrainsWithoutTheSuspects) {
  const DigitsExperiment& experiment = Experiment();
  ASSERT_EQ(experiment.cleaned.size(), 8u);
  EXPECT_EQ(experiment.cleaned.front().name, "nothing");
  EXPECT_EQ(experiment.cleaned.front().num_removed, 0);
  EXPECT_EQ(experiment.cleaned.front().mean_loss,
            experiment.influence.test_losses.mean().item<double>());
  for (size_t i = 1; i < experiment.cleaned.size(); ++i) {
    EXPECT_EQ(experiment.cleaned[i].num_removed, 30);
  }
  EXPECT_EQ(experiment.cleaned.back().name, "the wrong labels themselves");
  EXPECT_LT(experiment.cleaned.back().mean_loss,
            experiment.cleaned.front().mean_loss);
}

TEST(DigitsExperimentTest, NamesTheOptionOutOfRange) {
  const DigitImages& digits = Experiment().digits.train;
  EXPECT_THAT(
      RunDigitsExperiment(digits, {.weight_decay = -1}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("weight_decay")));
  EXPECT_THAT(RunDigitsExperiment(digits, {.num_train = 300}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("num_train: found 300, expected [1, 300)")));
  EXPECT_THAT(
      RunDigitsExperiment(digits, {.num_train = 100, .flipped_share = 0.7}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("flipped_share")));
  EXPECT_THAT(
      RunDigitsExperiment(digits, {.cleaned_share = 1}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cleaned_share")));
}

TEST(SummaryTextTest, HoldsTheNumbersInLinesOfEightyColumns) {
  const DigitsExperiment& experiment = Experiment();
  const std::string text = SummaryText(experiment);
  EXPECT_THAT(text, AllOf(HasSubstr("300 training images, 30 of their labels"),
                          HasSubstr("2410 parameters"),
                          HasSubstr("by harm to held-out digits"),
                          HasSubstr("in random order, on average")));
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    EXPECT_LE(line.size(), 80u) << line;
  }
}

}  // namespace
}  // namespace influence
