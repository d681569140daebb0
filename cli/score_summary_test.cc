// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/score_summary.h"

#include <optional>
#include <string>

#include "absl/strings/str_join.h"
#include "cli/options.h"
#include "gmock/gmock.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "influence/composable_influence.h"
#include "influence/influence_mode.h"
#include "nlohmann/json.hpp"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

ScoresOptions Options() {
  ScoresOptions options;
  options.model = "m.pt";
  options.train = "train.npz";
  options.test = "test.npz";
  options.out = "s.npy";
  options.method = Method::kDirect;
  return options;
}

ScoreSummary Summary() {
  ScoreSummary summary;
  summary.shape = {3, 20};
  summary.num_parameters = 7;
  summary.num_fitted_samples = 20;
  summary.blocks = {{"fc1", 4, 0.5, std::nullopt}, {"fc2", 3, 0.25, -2.0}};
  summary.train_batch = 20;
  summary.passes = 1;
  return summary;
}

std::string Text(const ScoresOptions& options, const ScoreSummary& summary) {
  return absl::StrJoin(SummaryLines(options, summary), "\n");
}

TEST(ScoreSummaryTest, TheSignFollowsModeUnitsAndQueryFunction) {
  const PerSampleFunction loss = CrossEntropyLoss();
  const PerSampleFunction margin = MarginFunction();
  const auto helps = [](InfluenceMode mode, Units units,
                        const PerSampleFunction& query) {
    return std::string(SignOfScores(mode, units, query).helps);
  };
  constexpr InfluenceMode kUp = InfluenceMode::kUp;
  constexpr InfluenceMode kMove = InfluenceMode::kPerturbation;
  // Removing j changes q by S / N.
  EXPECT_EQ(helps(kUp, Units::kRaw, loss), "positive");
  EXPECT_EQ(helps(kUp, Units::kLossChange, loss), "positive");
  EXPECT_EQ(helps(kUp, Units::kRaw, margin), "negative");
  EXPECT_EQ(helps(kUp, Units::kLossChange, margin), "negative");
  // Moving x by a unit changes q by -S / N.
  EXPECT_EQ(helps(kMove, Units::kRaw, loss), "positive");
  EXPECT_EQ(helps(kMove, Units::kLossChange, loss), "negative");
  EXPECT_EQ(helps(kMove, Units::kRaw, margin), "negative");
  EXPECT_EQ(helps(kMove, Units::kLossChange, margin), "positive");
  EXPECT_THAT(SignOfScores(kMove, Units::kLossChange, loss).meaning,
              HasSubstr("raises the query's loss"));
  EXPECT_THAT(SignOfScores(kUp, Units::kRaw, margin).meaning,
              AllOf(HasSubstr("the query's margin would be higher"),
                    HasSubstr("harms")));
}

TEST(ScoreSummaryTest, LossChangeIsTheFirstOrderPrediction) {
  EXPECT_EQ(UnitsFactor(InfluenceMode::kUp, Units::kRaw, 4), 1);
  EXPECT_EQ(UnitsFactor(InfluenceMode::kUp, Units::kLossChange, 4), 0.25);
  EXPECT_EQ(UnitsFactor(InfluenceMode::kPerturbation, Units::kRaw, 4), 1);
  EXPECT_EQ(UnitsFactor(InfluenceMode::kPerturbation, Units::kLossChange, 4),
            -0.25);
}

TEST(ScoreSummaryTest, TheTextSaysHowToReadTheFile) {
  EXPECT_THAT(Text(Options(), Summary()),
              AllOf(HasSubstr("s.npy: float32 [3, 20], mode up, units raw"),
                    HasSubstr("sign: positive: "),
                    HasSubstr("method direct, "
                              "hessian"),
                    HasSubstr("regularization fc1 0.5, fc2 0.25 (auto)"),
                    HasSubstr("N = 20 samples, P = 7"),
                    HasSubstr("smallest eigenvalue -2 (fc2)")));
}

TEST(ScoreSummaryTest, NoWarningWithoutAnIndefiniteBlock) {
  ScoreSummary summary = Summary();
  summary.blocks[1].smallest_eigenvalue.reset();
  EXPECT_THAT(Text(Options(), summary), Not(HasSubstr("warning")));
}

TEST(ScoreSummaryTest, ManyBlocksAreSummedUp) {
  ScoreSummary summary = Summary();
  summary.blocks.clear();
  for (int i = 0; i < 12; ++i) {
    summary.blocks.push_back({"b" + std::to_string(i), 1, 0.5 + i, -1.0 - i});
  }
  EXPECT_THAT(Text(Options(), summary),
              AllOf(HasSubstr("regularization 0.5 to 11.5 in 12 blocks"),
                    HasSubstr("indefinite in 12 blocks"), HasSubstr(", ...")));
}

TEST(ScoreSummaryTest, IdentityHasNoCurvatureToTellOf) {
  ScoresOptions options = Options();
  options.method = Method::kIdentity;
  ScoreSummary summary = Summary();
  summary.blocks = {{"full", 7, std::nullopt, std::nullopt}};
  EXPECT_THAT(
      Text(options, summary),
      AllOf(HasSubstr("method identity; N = 20"),
            Not(HasSubstr("regularization")), Not(HasSubstr("hessian"))));
  const auto json = nlohmann::json::parse(SummaryJson(options, summary));
  EXPECT_TRUE(json["second_order"].is_null());
  EXPECT_TRUE(json["regularization"].is_null());
  EXPECT_TRUE(json["blocks"][0]["regularization"].is_null());
}

TEST(ScoreSummaryTest, TheJsonHoldsTheSame) {
  const auto json = nlohmann::json::parse(SummaryJson(Options(), Summary()));
  EXPECT_EQ(json["out"], "s.npy");
  EXPECT_EQ(json["shape"], nlohmann::json({3, 20}));
  EXPECT_EQ(json["units"], "raw");
  EXPECT_EQ(json["sign"], "positive_helps");
  EXPECT_EQ(json["method"], "direct");
  EXPECT_EQ(json["second_order"], "hessian");
  EXPECT_EQ(json["query_function"], "loss");
  EXPECT_EQ(json["num_fitted_samples"], 20);
  EXPECT_EQ(json["blocks"][1]["name"], "fc2");
  EXPECT_EQ(json["blocks"][1]["regularization"], 0.25);
  EXPECT_EQ(json["blocks"][1]["smallest_eigenvalue"], -2.0);
  EXPECT_TRUE(json["blocks"][0]["smallest_eigenvalue"].is_null());
}

TEST(ScoreSummaryTest, APathThatIsNotUtf8DoesNotBreakTheJson) {
  ScoresOptions options = Options();
  options.model = "\xff.pt";
  const std::string text = SummaryJson(options, Summary());
  EXPECT_EQ(nlohmann::json::parse(text)["model"], "\xEF\xBF\xBD.pt");
}

}  // namespace
}  // namespace influence
