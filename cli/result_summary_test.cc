// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/result_summary.h"

#include <limits>
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
#include "operators/solve_report.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

ResultSummary Summary() {
  ResultSummary summary;
  summary.kind = "scores";
  summary.out = "s.npy";
  summary.shape = {3, 20};
  summary.fit.method = "direct";
  summary.fit.options = {{"regularization", "auto"},
                         {"second_order", "hessian"}};
  summary.fit.loss = "cross_entropy";
  summary.fit.num_parameters = 7;
  summary.fit.num_fitted_samples = 20;
  summary.fit.blocks = {{"fc1", 4, 0.5, std::nullopt}, {"fc2", 3, 0.25, -2.0}};
  summary.mode = InfluenceMode::kUp;
  summary.query = "loss";
  summary.paths = {{"model", "m.pt"}, {"train", "train.npz"}};
  summary.fingerprints = {{"model", "ab12"}, {"train", "cd34"}};
  summary.batch_size = 20;
  summary.passes = 1;
  return summary;
}

std::string Text(const ResultSummary& summary) {
  return absl::StrJoin(SummaryLines(summary), "\n");
}

TEST(ResultSummaryTest, TheSignFollowsModeUnitsAndQueryFunction) {
  const auto helps = [](InfluenceMode mode, Units units, const char* query) {
    return SignOfScores(mode, units, query).helps;
  };
  constexpr InfluenceMode kUp = InfluenceMode::kUp;
  constexpr InfluenceMode kMove = InfluenceMode::kPerturbation;
  // Removing j changes q by S / N.
  EXPECT_EQ(helps(kUp, Units::kRaw, "loss"), "positive");
  EXPECT_EQ(helps(kUp, Units::kLossChange, "loss"), "positive");
  EXPECT_EQ(helps(kUp, Units::kRaw, "margin"), "negative");
  EXPECT_EQ(helps(kUp, Units::kLossChange, "margin"), "negative");
  // Moving x by a unit changes q by -S / N.
  EXPECT_EQ(helps(kMove, Units::kRaw, "loss"), "positive");
  EXPECT_EQ(helps(kMove, Units::kLossChange, "loss"), "negative");
  EXPECT_EQ(helps(kMove, Units::kRaw, "margin"), "negative");
  EXPECT_EQ(helps(kMove, Units::kLossChange, "margin"), "positive");
  EXPECT_THAT(SignOfScores(kMove, Units::kLossChange, "loss").meaning,
              HasSubstr("raises the query's loss"));
  EXPECT_THAT(SignOfScores(kUp, Units::kRaw, "margin").meaning,
              AllOf(HasSubstr("the query's margin would be higher"),
                    HasSubstr("harms")));
  EXPECT_EQ(QueryName(CrossEntropyLoss()), "loss");
  EXPECT_EQ(QueryName(MarginFunction()), "margin");
}

TEST(ResultSummaryTest, LossChangeIsTheFirstOrderPrediction) {
  EXPECT_EQ(UnitsFactor(InfluenceMode::kUp, Units::kRaw, 4), 1);
  EXPECT_EQ(UnitsFactor(InfluenceMode::kUp, Units::kLossChange, 4), 0.25);
  EXPECT_EQ(UnitsFactor(InfluenceMode::kPerturbation, Units::kRaw, 4), 1);
  EXPECT_EQ(UnitsFactor(InfluenceMode::kPerturbation, Units::kLossChange, 4),
            -0.25);
}

TEST(ResultSummaryTest, TheTextSaysHowToReadTheFile) {
  EXPECT_THAT(Text(Summary()),
              AllOf(HasSubstr("s.npy: float32 [3, 20], mode up, units raw"),
                    HasSubstr("sign: positive: "),
                    HasSubstr("method direct, "
                              "regularization fc1 0.5, fc2 0.25 (auto), "
                              "second order hessian"),
                    HasSubstr("N = 20 samples, P = 7"),
                    HasSubstr("smallest eigenvalue -2 (fc2)")));
}

TEST(ResultSummaryTest, NoWarningWithoutAnIndefiniteBlock) {
  ResultSummary summary = Summary();
  summary.fit.blocks[1].smallest_eigenvalue.reset();
  EXPECT_THAT(Text(summary), Not(HasSubstr("warning")));
}

TEST(ResultSummaryTest, ManyBlocksAreSummedUp) {
  ResultSummary summary = Summary();
  summary.fit.blocks.clear();
  for (int i = 0; i < 12; ++i) {
    summary.fit.blocks.push_back({"b" + std::to_string(i),
                                  1,
                                  0.5 + i,
                                  -1.0 - i,
                                  {"rank: found 9; used 1"}});
  }
  EXPECT_THAT(Text(summary),
              AllOf(HasSubstr("regularization 0.5 to 11.5 in 12 blocks"),
                    HasSubstr("indefinite in 12 blocks"), HasSubstr(", ..."),
                    HasSubstr("block b7: rank: found 9; used 1"),
                    Not(HasSubstr("block b8")),
                    HasSubstr("and 4 more remarks on other blocks")));
}

TEST(ResultSummaryTest, IdentityHasNoRegularizationToTellOf) {
  ResultSummary summary = Summary();
  summary.fit.method = "identity";
  summary.fit.options.clear();
  summary.fit.blocks = {{"full", 7, std::nullopt, std::nullopt}};
  EXPECT_THAT(Text(summary), AllOf(HasSubstr("method identity; N = 20"),
                                   Not(HasSubstr("regularization"))));
  const auto json = nlohmann::json::parse(SummaryJson(summary));
  EXPECT_TRUE(json["blocks"][0]["regularization"].is_null());
  EXPECT_TRUE(ResultAttributes(summary)["regularization"].empty());
}

TEST(ResultSummaryTest, SolvesThatMissedAreCountedAndWarnedOf) {
  ResultSummary summary = Summary();
  summary.solves = {{"fc1",
                     {{SolveOutcome::kConverged, 12, 1e-7},
                      {SolveOutcome::kNegativeCurvature, 3, 0.4},
                      {SolveOutcome::kIterationLimit, 50, 1e-3}}},
                    {"fc2",
                     {{SolveOutcome::kConverged, 9, 1e-8},
                      {SolveOutcome::kNegativeCurvature, 2, 0.2},
                      {SolveOutcome::kDiverged, 7, 1e9}}}};
  EXPECT_THAT(
      Text(summary),
      AllOf(HasSubstr("solves: 6 right-hand sides: 2 converged, 1 iteration "
                      "limit, 2 negative curvature, 1 diverged; at most 50 "
                      "iterations, largest relative residual 1e+09"),
            HasSubstr("warning: 2 of 6 right-hand sides met negative "
                      "curvature"),
            HasSubstr("warning: 1 of 6 right-hand sides diverged"),
            HasSubstr("warning: 1 of 6 right-hand sides missed"),
            HasSubstr("warning: no answer for 1 of 3 queries: 2; ")));
  EXPECT_EQ(ResultAttributes(summary)["without_answer"],
            nlohmann::ordered_json({2}));
  const auto json = ResultAttributes(summary)["solves"]["fc1"];
  EXPECT_EQ(json["outcomes"][1], "negative_curvature");
  EXPECT_EQ(json["iterations"][2], 50);
  EXPECT_EQ(json["relative_residuals"][1], 0.4);
}

TEST(ResultSummaryTest, AllThatConvergedNeedNoWarning) {
  ResultSummary summary = Summary();
  summary.fit.blocks[1].smallest_eigenvalue.reset();
  summary.solves = {{"fc1", {{SolveOutcome::kConverged, 12, 1e-7}}}};
  EXPECT_THAT(Text(summary), AllOf(HasSubstr("1 right-hand sides: 1 converged"),
                                   Not(HasSubstr("warning"))));
  summary.solves[0].reports[0].relative_residual =
      std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(Text(summary), HasSubstr("residual nan"));
}

TEST(ResultSummaryTest, TheJsonHoldsTheSame) {
  const auto json = nlohmann::json::parse(SummaryJson(Summary()));
  EXPECT_EQ(json["kind"], "scores");
  EXPECT_EQ(json["out"], "s.npy");
  EXPECT_EQ(json["shape"], nlohmann::json({3, 20}));
  EXPECT_EQ(json["num_test"], 3);
  EXPECT_EQ(json["num_train"], 20);
  EXPECT_EQ(json["units"], "raw");
  EXPECT_EQ(json["sign"], "positive_helps");
  EXPECT_EQ(json["method"], "direct");
  EXPECT_EQ(json["options"]["second_order"], "hessian");
  EXPECT_EQ(json["options"]["regularization"], "auto");
  EXPECT_EQ(json["query_function"], "loss");
  EXPECT_EQ(json["num_fitted_samples"], 20);
  EXPECT_EQ(json["blocks"][1]["name"], "fc2");
  EXPECT_EQ(json["blocks"][1]["regularization"], 0.25);
  EXPECT_EQ(json["blocks"][1]["smallest_eigenvalue"], -2.0);
  EXPECT_TRUE(json["blocks"][0]["smallest_eigenvalue"].is_null());
  EXPECT_EQ(json["train"], "train.npz");
}

TEST(ResultSummaryTest, AttributesLeaveOutWhatBelongsToTheRun) {
  ResultSummary summary = Summary();
  summary.array_blocks = {"fc1", "fc2"};
  const auto json = ResultAttributes(summary);
  EXPECT_EQ(json["units"], "raw");
  EXPECT_EQ(json["sign"], "positive_helps");
  EXPECT_EQ(json["blocks"], nlohmann::ordered_json({"fc1", "fc2"}));
  EXPECT_EQ(json["regularization"]["fc2"], 0.25);
  EXPECT_EQ(json["fingerprints"]["train"], "cd34");
  EXPECT_TRUE(json["versions"].contains("libtorch"));
  EXPECT_EQ(json["seconds"], summary.seconds);
  for (const char* name : {"out", "model", "train", "batch_size"}) {
    EXPECT_FALSE(json.contains(name)) << name;
  }
}

TEST(ResultSummaryTest, AFitHasNoShapeAndNoSign) {
  ResultSummary summary = Summary();
  summary.kind = "fitted";
  summary.out = "folder";
  summary.shape.clear();
  summary.mode.reset();
  summary.query.clear();
  EXPECT_THAT(Text(summary),
              AllOf(HasSubstr("folder: fitted, "), Not(HasSubstr("sign"))));
  const auto json = nlohmann::json::parse(SummaryJson(summary));
  EXPECT_FALSE(json.contains("shape"));
  EXPECT_FALSE(json.contains("sign"));
}

TEST(ResultSummaryTest, APathThatIsNotUtf8DoesNotBreakTheJson) {
  ResultSummary summary = Summary();
  summary.paths[0].second = "\xff.pt";
  EXPECT_EQ(nlohmann::json::parse(SummaryJson(summary))["model"],
            "\xEF\xBF\xBD.pt");
}

}  // namespace
}  // namespace influence
