// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The `influence` program on the golden models: its files against scores that
// PyTorch computed in Python, and against each other for every way of cutting
// the data.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/matmul.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gradients/batch.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/cli_problem.h"
#include "tests/support/golden_case.h"
#include "tests/support/influence_command.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Twice the rounding of a float64 solve of these well-conditioned systems, with
// room for another order of the sums.
constexpr double kFloat64 = 1e-10;
// The same in float32, from a model and data that were rounded to it.
constexpr double kFloat32 = 2e-4;

class GoldenScoresTest : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenScoresTest, EqualThoseOfPyTorch) {
  const CliProblem problem = LoadCliProblem(GetParam());
  if (!problem.golden.RunsHere()) GTEST_SKIP() << "operators too new";
  EXPECT_THAT(problem.RunScores("--method identity"),
              TensorNear(problem.arrays.at("identity_scores"), kFloat64));
  const std::string lambda =
      " --regularization " + NumberText17(problem.golden.regularization);
  int compared = 0;
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"full", "hessian"},
      {"full", "gauss_newton"},
      {"full", "generalized_gauss_newton"},
      {"layer", "hessian"},
      {"parameter", "gauss_newton"},
  };
  for (const auto& [structure, curvature] : cases) {
    const auto expected =
        problem.arrays.find("scores_" + structure + "_" + curvature);
    if (expected == problem.arrays.end()) continue;
    ++compared;
    EXPECT_THAT(
        problem.RunScores("--method direct --block-structure " + structure +
                          " --second-order " + curvature + lambda),
        TensorNear(expected->second, kFloat64))
        << structure << " " << curvature;
  }
  const auto perturbation = problem.arrays.find("perturbation_full_hessian");
  if (perturbation != problem.arrays.end()) {
    ++compared;
    EXPECT_THAT(
        problem.RunScores("--method direct --mode perturbation" + lambda),
        TensorNear(perturbation->second, kFloat64));
  }
  EXPECT_GT(compared, 0);
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenScoresTest,
                         ::testing::Values("logistic_regression", "mlp", "cnn",
                                           "two_inputs", "frozen_layers",
                                           "tied_language_model",
                                           "transformer_float"),
                         [](const auto& param_info) {
                           return std::string(param_info.param);
                         });

TEST(CliEndToEndTest, RegularizationByBlock) {
  const CliProblem problem = LoadCliProblem("mlp");
  const at::Tensor& values = problem.arrays.at("block_regularization_layer");
  std::vector<std::string> parts;
  const std::vector<GoldenBlock>& blocks = problem.golden.blocks.at("layer");
  for (size_t b = 0; b < blocks.size(); ++b) {
    parts.push_back(absl::StrCat(blocks[b].name, "=",
                                 NumberText17(values[b].item<double>())));
  }
  EXPECT_THAT(
      problem.RunScores("--method direct --block-structure layer "
                        "--regularization " +
                        absl::StrJoin(parts, ",")),
      TensorNear(problem.arrays.at("block_regularization_scores_layer_hessian"),
                 kFloat64));
}

TEST(CliEndToEndTest, QueryFunctionsDifferentiateTheQuerySideOnly) {
  const CliProblem problem = LoadCliProblem("mlp");
  const at::Tensor train = problem.arrays.at("grads").t();
  for (const std::string query : {"margin", "logit"}) {
    EXPECT_THAT(
        problem.RunScores("--method identity --query-function " + query),
        TensorNear(at::matmul(problem.arrays.at(query + "_grads"), train),
                   kFloat64))
        << query;
  }
}

TEST(CliEndToEndTest, LossChangeDividesByTheSamplesOfTheFit) {
  const CliProblem problem = LoadCliProblem("mlp");
  const double n = problem.golden.num_train;
  const std::string direct =
      "--method direct --units loss_change --regularization " +
      NumberText17(problem.golden.regularization);
  EXPECT_THAT(
      problem.RunScores(direct),
      TensorNear(problem.arrays.at("scores_full_hessian").div(n), kFloat64));
  EXPECT_THAT(problem.RunScores(direct + " --mode perturbation"),
              TensorNear(problem.arrays.at("perturbation_full_hessian").div(-n),
                         kFloat64));
  EXPECT_THAT(
      problem.RunScores("--method identity --units loss_change"),
      TensorNear(problem.arrays.at("identity_scores").div(n), kFloat64));
}

TEST(CliEndToEndTest, ResultsDoNotDependOnBatchesOrThreads) {
  const CliProblem problem = LoadCliProblem("cnn");
  const std::string lambda =
      " --regularization " + NumberText17(problem.golden.regularization);
  for (const std::string& method :
       {std::string("--method identity"), "--method direct" + lambda,
        std::string("--method direct --second-order gauss_newton"),
        "--method direct --mode perturbation" + lambda}) {
    const at::Tensor expected = problem.RunScores(method);
    ASSERT_TRUE(expected.defined());
    for (const std::string cut :
         {"--batch-size 1 --threads 1", "--batch-size 4 --threads 2",
          "--batch-size 1000 --threads 2"}) {
      EXPECT_THAT(problem.RunScores(method + " " + cut),
                  TensorNear(expected, kFloat64))
          << method << " " << cut;
    }
  }
}

TEST(CliEndToEndTest, Float32IsTheDefault) {
  const CliProblem problem = LoadCliProblem("mlp");
  std::vector<std::string> words =
      problem.Scores("--method direct --regularization " +
                     NumberText17(problem.golden.regularization));
  std::vector<std::string> without;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--dtype") {
      ++i;
      continue;
    }
    without.push_back(words[i]);
  }
  const CommandResult result = RunInfluence(without);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const at::Tensor scores = ReadNpy(problem.out);
  EXPECT_EQ(scores.scalar_type(), at::kFloat);
  EXPECT_THAT(scores.to(at::kDouble),
              TensorNear(problem.arrays.at("scores_full_hessian"), kFloat32));
}

// No dtype but the file's: what integers mean is the model's to say.
TEST(CliEndToEndTest, IntegerInputsOfANumericModelAreRefused) {
  const CliProblem problem = LoadCliProblem("mlp");
  Batch train = GoldenTrainBatch(problem.golden, problem.arrays);
  train.x[0] = train.x[0].mul(10).round().clamp(0, 200).to(at::kByte);
  WriteDataFolder(problem.folder + "/train", problem.golden, train);
  const CommandResult result =
      RunInfluence(problem.Scores("--method identity"));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr("train: found uint8 x ["),
                                HasSubstr("expected float64 x; store x as "
                                          "float64")));
}

TEST(CliEndToEndTest, JsonIsAllThereIsOnStandardOutput) {
  const CliProblem problem = LoadCliProblem("mlp");
  std::vector<std::string> words =
      problem.Scores("--method direct --json --regularization 0.01");
  words.erase(std::find(words.begin(), words.end(), "--quiet"));
  const CommandResult result = RunInfluence(words);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["out"], problem.out);
  EXPECT_EQ(json["method"], "direct");
  EXPECT_EQ(json["units"], "raw");
  EXPECT_EQ(json["sign"], "positive_helps");
  EXPECT_EQ(json["num_parameters"], problem.golden.num_parameters);
  EXPECT_EQ(json["num_fitted_samples"], problem.golden.num_train);
  EXPECT_EQ(json["shape"], nlohmann::json({problem.golden.num_test,
                                           problem.golden.num_train}));
  EXPECT_EQ(json["blocks"][0]["regularization"], 0.01);
  // This random model is no minimum of its loss.
  EXPECT_LT(json["blocks"][0]["smallest_eigenvalue"].get<double>(), 0);
  // Plan, progress and closing summary.
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("influence: plan: "), HasSubstr("fit"),
                    HasSubstr("influence: sign: positive"),
                    HasSubstr("smallest eigenvalue"),
                    HasSubstr("N = 7 samples, P = 51"), Not(HasSubstr("\r"))));
}

TEST(CliEndToEndTest, AutoRegularizationIsStated) {
  const CliProblem problem = LoadCliProblem("mlp");
  const CommandResult result = RunInfluence(
      problem.Scores("--method direct --json --block-structure layer "
                     "--second-order gauss_newton"));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["options"]["regularization"], "auto");
  // 0.1 * mean_n |g_n,block|^2 / P_block.
  const at::Tensor grads = problem.arrays.at("grads");
  int64_t begin = 0;
  ASSERT_EQ(json["blocks"].size(), problem.golden.blocks.at("layer").size());
  for (const auto& block : json["blocks"]) {
    const int64_t size = block["num_parameters"];
    const double expected = grads.slice(1, begin, begin + size)
                                .pow(2)
                                .sum(1)
                                .mean()
                                .item<double>() *
                            0.1 / static_cast<double>(size);
    EXPECT_NEAR(block["regularization"].get<double>(), expected,
                1e-12 * expected);
    begin += size;
  }
}

TEST(CliEndToEndTest, InspectPrintsParametersBlocksAndCoverage) {
  const CliProblem problem = LoadCliProblem("mlp");
  const std::vector<std::string> files = {"--model", problem.golden.model_path,
                                          "--train", problem.folder + "/train"};
  const CommandResult text = RunInfluence(
      Words("inspect --loss cross_entropy --block-structure layer", files));
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_EQ(text.err, "");
  EXPECT_THAT(text.out,
              AllOf(HasSubstr("P = 51 trainable parameters"),
                    HasSubstr("layers.0.weight"), HasSubstr("linear"),
                    HasSubstr("layers.4  15"),
                    HasSubstr("100.0 % of 51 parameters on the fast path"),
                    HasSubstr("self-check against autograd on 3 samples: "
                              "passed")));
  const CommandResult result = RunInfluence(Words(
      "inspect --json --loss cross_entropy --block-structure layer", files));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["num_parameters"], 51);
  ASSERT_EQ(json["parameters"].size(), problem.golden.parameters.size());
  for (size_t i = 0; i < problem.golden.parameters.size(); ++i) {
    const GoldenParameter& parameter = problem.golden.parameters[i];
    EXPECT_EQ(json["parameters"][i]["name"], parameter.name);
    EXPECT_EQ(json["parameters"][i]["shape"], parameter.shape);
    EXPECT_EQ(json["parameters"][i]["rule"], "linear");
    EXPECT_EQ(json["parameters"][i]["block"],
              parameter.name.substr(0, parameter.name.rfind('.')));
  }
}

TEST(CliEndToEndTest, HelpAndVersionGoToStandardOutput) {
  for (const std::string line : {"--help", "--version", "scores --help",
                                 "inspect -h", "fit --help", "spectrum -h"}) {
    const CommandResult result = RunInfluence(Words(line));
    EXPECT_EQ(result.exit_code, 0) << line;
    EXPECT_THAT(result.out, HasSubstr("influence")) << line;
    EXPECT_THAT(result.err, IsEmpty()) << line;
  }
}

}  // namespace
}  // namespace influence
