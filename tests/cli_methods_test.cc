// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Every method through the `influence` program: against scores that PyTorch
// computed in Python, as a store and as a file, fitted once and used often by
// processes of their own.
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/zeros_like.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "calculators/zarr_array.h"
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
using ::testing::StartsWith;

// Float64 solves of well-conditioned systems against those of another program.
constexpr double kFloat64 = 1e-8;

// Each method with options that suit the golden networks.
const std::vector<std::string> kMethods = {
    "--method identity",
    "--method direct --regularization 0.5",
    "--method cg --regularization 0.5 --preconditioner jacobi",
    "--method lissa --regularization 0.5",
    "--method arnoldi --regularization 0.5 --rank 4",
    "--method nystroem --regularization 0.5 --rank 4",
    "--method kfac --regularization 0.5",
    "--method ekfac",
    "--method ihm --regularization 0.5 --block-structure layer",
};

std::string ShortName(const std::string& method) {
  const std::vector<std::string> words = absl::StrSplit(method, ' ');
  return words[1];
}

// What a fit is made from, of `problem`, in float64.
std::string FitWords(const CliProblem& problem) {
  return absl::StrCat(" --dtype float64 --loss ", problem.golden.loss,
                      " --model ", problem.golden.model_path,
                      " --train @train ");
}

void Fit(const CliProblem& problem, const std::string& method,
         const std::string& folder = "fitted") {
  problem.Run("fit " + FitWords(problem) + method, folder);
  EXPECT_TRUE(std::filesystem::exists(problem.Path(folder + "/fitted.json")));
}

// Expects "influence <more>" to fail with one line that contains `message`,
// and nothing new on the disk.
void ExpectFailure(const CliProblem& problem, const std::string& more,
                   int exit_code, const std::string& message) {
  const auto files = [&] {
    std::set<std::string> names;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(problem.folder)) {
      names.insert(entry.path());
    }
    return names;
  };
  const std::set<std::string> before = files();
  std::vector<std::string> words = Words(more + " --quiet");
  for (std::string& word : words) {
    if (word[0] == '@') word = problem.Path(word.substr(1));
  }
  const CommandResult result = RunInfluence(words);
  EXPECT_EQ(result.exit_code, exit_code) << more << "\n" << result.err;
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_THAT(result.err,
              AllOf(StartsWith("influence: error: "), HasSubstr(message)));
  const std::vector<std::string> lines = absl::StrSplit(result.err, '\n');
  EXPECT_EQ(lines.size(), 2) << result.err;
  EXPECT_EQ(files(), before) << more;
}

// The command line of a golden result.
std::string GoldenWords(const GoldenResult& result) {
  std::string words = absl::StrCat("--method ", result.method);
  const auto add = [&](absl::string_view option, absl::string_view value) {
    if (!value.empty()) absl::StrAppend(&words, " ", option, " ", value);
  };
  add("--block-structure", result.structure);
  add("--second-order", result.curvature);
  add("--fisher", result.fisher);
  add("--uncovered", result.uncovered);
  add("--low-rank-inverse", result.low_rank_inverse);
  if (result.regularization.has_value()) {
    add("--regularization", NumberText17(*result.regularization));
  }
  if (result.seed > 0) add("--seed", absl::StrCat(result.seed));
  if (result.rank > 0) add("--rank", absl::StrCat(result.rank));
  if (result.method == "lissa") {
    add("--scale", NumberText17(result.scale));
    add("--dampen", NumberText17(result.dampen));
    add("--tolerance", "1e-12");
    add("--max-iterations", "100000");
    add("--batch-size", "1000");
  }
  return words;
}

TEST(CliMethodsTest, ScoresEqualThoseOfPyTorch) {
  const CliProblem problem = LoadCliProblem("mlp");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::vector<GoldenMethods> methods,
                                 LoadGoldenMethods());
  std::set<std::string> compared;
  for (const GoldenMethods& golden : methods) {
    if (golden.golden.name != "mlp") continue;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const GoldenArrays arrays,
                                   LoadGoldenArrays(golden));
    for (const GoldenResult& result : golden.results) {
      // The others are compared in one process, without the program.
      if (result.structure == "parameter" || result.structure == "layer" ||
          result.curvature == "gauss_newton") {
        continue;
      }
      const std::string words = GoldenWords(result);
      EXPECT_THAT(problem.RunScores(words),
                  TensorNear(arrays.at(result.array), kFloat64))
          << words;
      compared.insert(result.method);
    }
  }
  EXPECT_THAT(compared, ::testing::ElementsAre("arnoldi", "ekfac", "ihm",
                                               "kfac", "lissa"));
}

TEST(CliMethodsTest, FullRankAndConvergedMethodsEqualTheDirectOne) {
  const CliProblem problem = LoadCliProblem("mlp");
  const std::string shared =
      " --regularization 0.5 --second-order generalized_gauss_newton";
  const at::Tensor expected = problem.RunScores("--method direct" + shared);
  for (const std::string method :
       {"cg --tolerance 1e-12", "cg --tolerance 1e-12 --preconditioner jacobi",
        "cg --tolerance 1e-12 --preconditioner nystroem --rank 8",
        "arnoldi --rank 51", "nystroem --rank 51"}) {
    EXPECT_THAT(problem.RunScores("--method " + method + shared),
                TensorNear(expected, 1e-7))
        << method;
  }
}

TEST(CliMethodsTest, AStoreHoldsWhatAFileHolds) {
  const CliProblem problem = LoadCliProblem("mlp");
  const std::string scores = "scores --test @test" + FitWords(problem);
  for (const std::string& method : kMethods) {
    SCOPED_TRACE(method);
    const std::string store = ShortName(method) + ".zarr";
    const at::Tensor npy =
        problem.Run(scores + method, ShortName(method) + ".npy");
    const at::Tensor zarr = problem.Run(scores + method, store);
    ASSERT_TRUE(npy.defined() && zarr.defined());
    EXPECT_THAT(zarr, TensorNear(npy, 0));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArray array,
                                   ZarrArray::Open(problem.Path(store)));
    const auto& attributes = array.metadata().attributes;
    EXPECT_EQ(attributes["kind"], "scores");
    EXPECT_EQ(attributes["method"], ShortName(method));
    EXPECT_EQ(attributes["units"], "raw");
    EXPECT_EQ(attributes["sign"], "positive_helps");
    EXPECT_EQ(attributes["num_fitted_samples"], problem.golden.num_train);
    for (const char* role : {"model", "train", "test"}) {
      EXPECT_EQ(attributes["fingerprints"][role].get<std::string>().size(), 64);
    }
    EXPECT_EQ(attributes["regularization"].empty(),
              ShortName(method) == "identity");
    const bool iterates =
        ShortName(method) == "cg" || ShortName(method) == "lissa";
    EXPECT_EQ(attributes.contains("solves"), iterates);
    if (iterates) {
      EXPECT_EQ(attributes["solves"]["full"]["outcomes"].size(),
                problem.golden.num_test);
    }
  }
}

TEST(CliMethodsTest, ByBlockTheSumIsTheWhole) {
  const CliProblem problem = LoadCliProblem("mlp");
  const std::string scores =
      "scores --test @test --block-structure layer --method direct "
      "--regularization 0.5" +
      FitWords(problem);
  const at::Tensor whole = problem.Run(scores, "whole.zarr");
  problem.Run(
      "scores --test @test --by-block --method direct "
      "--block-structure layer --regularization 0.5" +
          FitWords(problem) + " --units raw",
      "blocks.zarr/");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrGroup group,
                                 ZarrGroup::Open(problem.Path("blocks.zarr")));
  at::Tensor sum = at::zeros_like(whole);
  std::vector<std::string> names;
  for (const auto& name : group.attributes()["blocks"]) {
    names.push_back(name);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArray array,
                                   group.OpenArray(names.back()));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor part, array.ReadAll());
    sum.add_(part);
  }
  ASSERT_EQ(names.size(), problem.golden.blocks.at("layer").size());
  EXPECT_EQ(names[0], problem.golden.blocks.at("layer")[0].name);
  EXPECT_THAT(sum, TensorNear(whole, 1e-12));
}

TEST(CliMethodsTest, FittedOnceAndScoredTwiceEqualsOneRun) {
  const CliProblem problem = LoadCliProblem("mlp");
  // Another set of queries: some of the training samples.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const Batch other,
      SliceBatch(GoldenTrainBatch(problem.golden, problem.arrays), 1, 4));
  WriteDataFolder(problem.Path("other"), problem.golden, other);
  bool first = true;
  for (const std::string& method : kMethods) {
    SCOPED_TRACE(method);
    const std::string name = ShortName(method);
    Fit(problem, method, name);
    // Both sets in turn, and each with the methods that are used most.
    std::vector<std::string> tests = {first ? "@test" : "@other"};
    if (name == "ekfac" || name == "cg") tests = {"@test", "@other"};
    first = !first;
    for (const std::string& test : tests) {
      const at::Tensor once = problem.Run(
          "scores --overwrite --test " + test + FitWords(problem) + method,
          "once.npy");
      const at::Tensor fitted =
          problem.Run("scores --overwrite --fitted @" + name +
                          " --train @train --test " + test,
                      "fitted.npy");
      ASSERT_TRUE(once.defined() && fitted.defined());
      EXPECT_THAT(fitted, TensorNear(once, 0)) << test;
    }
  }
}

TEST(CliMethodsTest, StoredGradientsGiveTheScoresOfThePassTheySave) {
  const CliProblem problem = LoadCliProblem("mlp");
  for (const std::string method :
       {"--method ekfac", "--method identity",
        "--method cg --regularization 0.5 --tolerance 1e-12"}) {
    SCOPED_TRACE(method);
    const std::string name = ShortName(method);
    Fit(problem, method, name);
    Fit(problem, method + " --store-gradients", name + "_stored");
    const std::string scores = "scores --overwrite --train @train --fitted @";
    const at::Tensor expected =
        problem.Run(scores + name + " --test @test", "s.npy");
    ASSERT_TRUE(expected.defined());
    EXPECT_THAT(
        problem.Run(scores + name + "_stored --test @test", "stored.npy"),
        TensorNear(expected, 1e-12));
    problem.Run("factors --overwrite --test @test --fitted @" + name, "f.zarr");
    EXPECT_THAT(
        problem.Run(scores + name + " --factors @f.zarr", "from_factors.npy"),
        TensorNear(expected, 1e-12));
    const CommandResult result = RunInfluence(Words(
        "scores --overwrite --train " + problem.Path("train") + " --test " +
        problem.Path("test") + " --fitted " + problem.Path(name + "_stored") +
        " --out " + problem.Path("again.npy")));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr("from the gradients stored in"));
    // They are of the training data only.
    EXPECT_THAT(problem.Run("scores --overwrite --test @test --train @test "
                            "--fitted @" +
                                name + "_stored",
                            "other.npy"),
                TensorNear(problem.Run("scores --overwrite --test @test "
                                       "--train @test --fitted @" +
                                           name,
                                       "other_plain.npy"),
                           1e-12));
  }
  ExpectFailure(
      problem,
      "fit --method ekfac --stored-rank 2 --out @x" + FitWords(problem), 2,
      "--stored-rank");
}

TEST(CliMethodsTest, FactorsSelfAndScoresAgree) {
  const CliProblem problem = LoadCliProblem("mlp");
  for (const std::string method :
       {"--method direct --regularization 0.5",
        "--method cg --regularization 0.5 --tolerance 1e-12", "--method ekfac",
        "--method identity"}) {
    SCOPED_TRACE(method);
    const std::string name = ShortName(method);
    Fit(problem, method, name);
    const std::string fitted = " --overwrite --fitted @" + name;
    const at::Tensor factors =
        problem.Run("factors --test @test" + fitted, "f.zarr");
    ASSERT_TRUE(factors.defined());
    EXPECT_EQ(factors.sizes(),
              at::IntArrayRef(
                  {problem.golden.num_test, problem.golden.num_parameters}));
    EXPECT_THAT(problem.Run("factors --test @test" + fitted, "f.npy"),
                TensorNear(factors, 0));
    const at::Tensor scores =
        problem.Run("scores --train @train --test @test" + fitted, "s.npy");
    EXPECT_THAT(problem.Run("scores --train @train --factors @f.zarr" + fitted,
                            "from_factors.zarr"),
                TensorNear(scores, 1e-12));
    const at::Tensor square =
        problem.Run("scores --train @train --test @train" + fitted, "q.npy");
    const at::Tensor self =
        problem.Run("self --train @train" + fitted, "d.npy");
    EXPECT_THAT(self, TensorNear(square.diagonal(), 1e-12));
    EXPECT_THAT(problem.Run("self --units loss_change --train @train" + fitted,
                            "d.zarr"),
                TensorNear(self.div(problem.golden.num_train), 1e-15));
  }
}

TEST(CliMethodsTest, TheSignOfStoredFactorsIsThatOfTheirQueryFunction) {
  const CliProblem problem = LoadCliProblem("mlp");
  Fit(problem, "--method direct --regularization 0.5");
  problem.Run("factors --fitted @fitted --test @test --query-function margin",
              "f.zarr");
  problem.Run("scores --fitted @fitted --factors @f.zarr --train @train",
              "s.zarr");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArray scores,
                                 ZarrArray::Open(problem.Path("s.zarr")));
  EXPECT_EQ(scores.metadata().attributes["query_function"], "margin");
  EXPECT_EQ(scores.metadata().attributes["sign"], "negative_helps");
}

TEST(CliMethodsTest, AScoreToleranceStaysWithinItsBoundAndIsStored) {
  const CliProblem problem = LoadCliProblem("mlp");
  Fit(problem, "--method ekfac --regularization 0.05");
  const std::string scores =
      "scores --fitted @fitted --train @train --test "
      "@train ";
  const at::Tensor exact = problem.Run(scores, "s.npy");
  const at::Tensor rough =
      problem.Run(scores + "--score-tolerance 0.5", "s.zarr");
  ASSERT_TRUE(exact.defined() && rough.defined());
  // 0 <= B - A^-1 <= t B; layers as small as these may be left exact.
  const at::Tensor own = rough.diagonal();
  const at::Tensor bound =
      own.unsqueeze(0).mul(own.unsqueeze(1)).sqrt().mul(0.5);
  EXPECT_TRUE(
      rough.sub(exact).abs().le(bound.mul(1 + 1e-9)).all().item<bool>());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArray array,
                                 ZarrArray::Open(problem.Path("s.zarr")));
  EXPECT_EQ(array.metadata().attributes["score_tolerance"], 0.5);
}

TEST(CliMethodsTest, NegativeCurvatureIsToldAndNoFailure) {
  // A network that is no minimum of its loss.
  const CliProblem problem = LoadCliProblem("mlp");
  std::vector<std::string> words =
      Words("scores --json --test " + problem.Path("test") + " --out " +
            problem.Path("s.zarr") +
            " --method cg --second-order hessian "
            "--regularization 1e-9 --dtype float64 --loss " +
            problem.golden.loss + " --model " + problem.golden.model_path +
            " --train " + problem.Path("train"));
  const CommandResult result = RunInfluence(words);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr("influence: warning: "),
                                HasSubstr("met negative curvature")));
  const auto json = nlohmann::json::parse(result.out);
  int met = 0;
  for (const auto& outcome : json["solves"]["full"]["outcomes"]) {
    if (outcome == "negative_curvature") ++met;
  }
  EXPECT_GT(met, 0);
  EXPECT_EQ(json["solves"]["full"]["relative_residuals"].size(),
            problem.golden.num_test);
}

TEST(CliMethodsTest, SpectrumPrintsEigenvaluesAndSensitivity) {
  const CliProblem problem = LoadCliProblem("mlp");
  Fit(problem, "--method ekfac --regularization 0.5");
  const CommandResult text =
      RunInfluence(Words("spectrum --fitted " + problem.Path("fitted")));
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.err, IsEmpty());
  for (const GoldenBlock& block : problem.golden.blocks.at("layer")) {
    EXPECT_THAT(text.out, HasSubstr(block.name));
  }
  const CommandResult result = RunInfluence(
      Words("spectrum --json --regularizations 1e-4,1e-2,1 --fitted " +
            problem.Path("fitted") + " --test " + problem.Path("test")));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  ASSERT_EQ(json["blocks"].size(), problem.golden.blocks.at("layer").size());
  for (const auto& block : json["blocks"]) {
    EXPECT_EQ(block["eigenvalues"].size(), block["num_parameters"]);
    EXPECT_GE(block["largest"], block["mean"]);
    ASSERT_EQ(block["effects"].size(), 3);
    EXPECT_GT(block["effects"][0]["effective_dimension"],
              block["effects"][2]["effective_dimension"]);
  }
  ASSERT_EQ(json["sensitivity"].size(), 2);
  EXPECT_EQ(json["sensitivity"][1]["next_regularization"], 1.0);
  EXPECT_LE(json["sensitivity"][0]["spearman"], 1.0);
}

TEST(CliMethodsTest, OptionsBesideAFitAreRefused) {
  const CliProblem problem = LoadCliProblem("mlp");
  Fit(problem, "--method direct --regularization 0.5");
  const std::string scores =
      "scores --fitted @fitted --train @train --test @test --out @s.npy ";
  for (const std::string option :
       {"--regularization 1", "--second-order hessian", "--method direct",
        "--dtype float32", "--loss mse"}) {
    ExpectFailure(problem, scores + option, 2,
                  "expected nothing beside --fitted");
  }
  ExpectFailure(
      problem, scores + "--score-tolerance 0.1", 2,
      "--score-tolerance: found '0.1', expected nothing with --method "
      "direct");
}

TEST(CliMethodsTest, AFitOfAnotherModelOrOtherDataIsRefused) {
  const CliProblem problem = LoadCliProblem("mlp");
  const CliProblem other = LoadCliProblem("frozen_layers");
  Fit(problem, "--method ihm --regularization 0.5");
  const std::string scores =
      "scores --fitted @fitted --train @copy --test @test --out @s.npy ";
  const auto options = std::filesystem::copy_options::recursive;
  std::filesystem::copy(problem.Path("train"), problem.Path("copy"), options);
  ExpectFailure(problem, scores + "--model " + other.golden.model_path, 1,
                other.golden.model_path);
  ExpectFailure(problem, scores + "--model @none.pt", 1, "none.pt");
  // The model may have moved.
  std::filesystem::copy(problem.golden.model_path, problem.Path("moved.pt"));
  problem.Run(
      "scores --fitted @fitted --train @copy --test @test --model "
      "@moved.pt",
      "moved.npy");
  // The data that ihm reads again must be as they were.
  std::filesystem::copy_file(problem.Path("test/x.npy"),
                             problem.Path("train/x.npy"),
                             std::filesystem::copy_options::overwrite_existing);
  ExpectFailure(problem, scores, 1, "train");
  std::filesystem::remove_all(problem.Path("train"));
  ExpectFailure(problem, scores, 1, "train");
}

TEST(CliMethodsTest, ADamagedFitIsRefused) {
  const CliProblem problem = LoadCliProblem("mlp");
  Fit(problem, "--method ekfac --regularization 0.5");
  const std::string fitted = problem.Path("fitted/fitted.json");
  const std::string scores =
      "scores --fitted @fitted --train @train --test @test --out @s.npy";
  const std::string good = ReadText(fitted);
  const auto replace = [&](const std::string& text) {
    std::ofstream(fitted, std::ios::binary) << text;
  };
  // Damaged, cut off, of a later version, not a fit at all.
  std::string bad = good;
  bad[bad.size() / 2] ^= 1;
  replace(bad);
  ExpectFailure(problem, scores, 1, "fitted.json: ");
  replace(good.substr(0, good.size() / 2));
  ExpectFailure(problem, scores, 1, "fitted.json: ");
  auto json = nlohmann::ordered_json::parse(good);
  json["version"] = 99;
  replace(json.dump());
  ExpectFailure(problem, scores, 1, "version");
  replace("{}");
  ExpectFailure(problem, scores, 1, "fitted.json: ");
  std::filesystem::remove(fitted);
  ExpectFailure(problem, scores, 1, "fitted");
  ExpectFailure(problem, "self --fitted @nowhere --train @train --out @s.npy",
                1, "nowhere: found nothing");
  replace(good);
  // A chunk of an array.
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(problem.Path("fitted"))) {
    const std::string path = entry.path();
    if (!entry.is_regular_file() || absl::EndsWith(path, ".json")) continue;
    std::string bytes = ReadText(path);
    bytes[bytes.size() / 2] ^= 1;
    std::ofstream(path, std::ios::binary) << bytes;
    break;
  }
  ExpectFailure(problem, scores, 1, "fitted/");
}

TEST(CliMethodsTest, FactorsOfAnotherFitAreRefused) {
  const CliProblem problem = LoadCliProblem("mlp");
  Fit(problem, "--method direct --regularization 0.5");
  Fit(problem, "--method direct --regularization 0.6", "second");
  problem.Run("factors --fitted @fitted --test @test", "f.zarr");
  const std::string scores = "scores --train @train --out @s.npy ";
  ExpectFailure(problem, scores + "--fitted @second --factors @f.zarr", 1,
                "f.zarr: found factors of another fit");
  problem.Run("scores --fitted @fitted --train @train --test @test",
              "scores.zarr");
  ExpectFailure(problem, scores + "--fitted @fitted --factors @scores.zarr", 1,
                "scores.zarr: found scores, expected what influence factors");
  ExpectFailure(problem, scores + "--fitted @fitted --factors @none.zarr", 1,
                "none.zarr: ");
}

TEST(CliMethodsTest, AFitThatExistsStaysUnlessOverwritten) {
  const CliProblem problem = LoadCliProblem("mlp");
  Fit(problem, "--method direct --regularization 0.5");
  const std::string fit = "fit --out @fitted" + FitWords(problem);
  const std::string before = ReadText(problem.Path("fitted/fitted.json"));
  ExpectFailure(problem, fit + "--method identity", 1,
                "fitted: found an existing folder, expected none");
  // A run that fails late leaves it too.
  ExpectFailure(problem,
                fit +
                    "--overwrite --method direct --regularization 0 "
                    "--second-order gauss_newton",
                1, "--regularization");
  EXPECT_EQ(ReadText(problem.Path("fitted/fitted.json")), before);
  problem.Run("fit --overwrite --method identity" + FitWords(problem),
              "fitted");
  EXPECT_NE(ReadText(problem.Path("fitted/fitted.json")), before);
  // Somebody's folder is never replaced.
  ExpectFailure(
      problem,
      "fit --overwrite --method identity --out @test" + FitWords(problem), 1,
      "test: found");
}

TEST(CliMethodsTest, AFitSaysWhatItDid) {
  const CliProblem problem = LoadCliProblem("mlp");
  const CommandResult result = RunInfluence(
      Words("fit --json --method arnoldi --rank 30 --block-structure parameter "
            "--regularization 0.5 --loss " +
            problem.golden.loss + " --model " + problem.golden.model_path +
            " --train " + problem.Path("train") + " --out " +
            problem.Path("fitted")));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("influence: plan: fit arnoldi (hessian) at rank "
                              "30"),
                    HasSubstr("rank: "), Not(HasSubstr("\r"))));
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["kind"], "fitted");
  EXPECT_EQ(json["method"], "arnoldi");
  EXPECT_EQ(json["options"]["rank"], "30");
  EXPECT_EQ(json["options"]["second_order"], "hessian");
  EXPECT_EQ(json["num_fitted_samples"], problem.golden.num_train);
  EXPECT_FALSE(json["blocks"][0]["remarks"].empty());  // A rank too large.
}

}  // namespace
}  // namespace influence
