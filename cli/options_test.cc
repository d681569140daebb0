// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_split.h"
#include "cli/usage_error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

constexpr char kInspect[] =
    "inspect --model m.pt --train train.npz --loss cross_entropy";
constexpr char kScores[] =
    "scores --model m.pt --train train.npz --test test.npz --loss "
    "cross_entropy --method direct --out s.npy";
constexpr char kIdentityScores[] =
    "scores --model m.pt --train train.npz --test test.npz --loss "
    "cross_entropy --method identity --out s.npy";

// Words are separated by a space; an empty word is a word.
absl::StatusOr<CommandLine> Parse(const std::string& words) {
  const std::vector<std::string> arguments = absl::StrSplit(words, ' ');
  return ParseCommandLine(arguments);
}

absl::StatusOr<CommandLine> Parse(const std::string& words,
                                  const std::string& more) {
  return Parse(words + " " + more);
}

ScoresOptions Scores(const std::string& words) {
  const absl::StatusOr<CommandLine> line = Parse(words);
  EXPECT_THAT(line, IsOk()) << words;
  return std::get<ScoresOptions>(*line);
}

std::string Text(const std::string& words) {
  const absl::StatusOr<CommandLine> line = Parse(words);
  EXPECT_THAT(line, IsOk()) << words;
  return std::get<TextRequest>(*line).text;
}

void ExpectUsageError(const absl::StatusOr<CommandLine>& line,
                      const std::string& message) {
  EXPECT_THAT(line,
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  EXPECT_EQ(ExitCode(line.status()), 2);
}

TEST(OptionsTest, InspectHasDefaults) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const CommandLine line, Parse(kInspect));
  const auto& options = std::get<InspectOptions>(line);
  EXPECT_EQ(options.model, "m.pt");
  EXPECT_EQ(options.train, "train.npz");
  EXPECT_EQ(options.loss.name(), "cross_entropy");
  EXPECT_EQ(options.dtype, at::kFloat);
  EXPECT_EQ(options.block_structure, BlockStructure::kFull);
  EXPECT_FALSE(options.batch_size.has_value());
  EXPECT_FALSE(options.num_threads.has_value());
  EXPECT_FALSE(options.quiet);
  EXPECT_FALSE(options.json);
}

TEST(OptionsTest, ScoresHasDefaults) {
  const ScoresOptions options = Scores(kScores);
  EXPECT_EQ(options.test, "test.npz");
  EXPECT_EQ(options.out, "s.npy");
  EXPECT_EQ(options.method, Method::kDirect);
  EXPECT_EQ(options.curvature, Curvature::kHessian);
  EXPECT_TRUE(options.regularization.is_auto());
  EXPECT_EQ(options.mode, InfluenceMode::kUp);
  EXPECT_EQ(options.units, Units::kRaw);
  EXPECT_EQ(options.query_function.name(), "cross_entropy");
  EXPECT_FALSE(options.overwrite);
}

TEST(OptionsTest, ScoresTakesEveryOption) {
  const ScoresOptions options = Scores(
      std::string(kScores) +
      " --regularization=1e-3 --block-structure layer --second-order "
      "gauss_newton --mode perturbation --units loss_change --query-function "
      "margin --dtype float64 --batch-size 32 --threads 2 --seed 7 "
      "--overwrite --quiet --json");
  EXPECT_EQ(options.regularization.ToString(), "0.001");
  EXPECT_EQ(options.block_structure, BlockStructure::kLayer);
  EXPECT_EQ(options.curvature, Curvature::kGaussNewton);
  EXPECT_EQ(options.mode, InfluenceMode::kPerturbation);
  EXPECT_EQ(options.units, Units::kLossChange);
  EXPECT_TRUE(options.query_function.higher_is_better());
  EXPECT_EQ(options.dtype, at::kDouble);
  EXPECT_EQ(options.batch_size, 32);
  EXPECT_EQ(options.num_threads, 2);
  EXPECT_EQ(options.seed, 7);
  EXPECT_TRUE(options.overwrite);
  EXPECT_TRUE(options.quiet);
  EXPECT_TRUE(options.json);
}

TEST(OptionsTest, RegularizationMayBeAutoOrByBlock) {
  EXPECT_TRUE(Scores(std::string(kScores) + " --regularization auto")
                  .regularization.is_auto());
  EXPECT_FALSE(Scores(std::string(kScores) +
                      " --block-structure layer --regularization "
                      "net.0=1e-3,net.2=0.5")
                   .regularization.is_auto());
}

TEST(OptionsTest, HelpHasAnExample) {
  EXPECT_THAT(Text("--help"),
              AllOf(HasSubstr("inspect"), HasSubstr("--method direct")));
  EXPECT_EQ(Text("--help"), Text("-h"));
  for (const std::string command : {"inspect", "scores"}) {
    EXPECT_THAT(Text(command + " --help"),
                AllOf(HasSubstr("influence " + command), HasSubstr("--model"),
                      HasSubstr("--batch-size"), HasSubstr("Example:")));
  }
  EXPECT_THAT(Text("scores --help"), HasSubstr("--query-function"));
}

TEST(OptionsTest, VersionNamesLibTorchToo) {
  EXPECT_THAT(Text("--version"),
              MatchesRegex("influence [0-9.]+ \\(LibTorch [0-9.]+\\)\n"));
}

TEST(OptionsTest, AnUnknownCommandNamesThoseThatExist) {
  ExpectUsageError(ParseCommandLine({}),
                   "command: found nothing, expected inspect or scores");
  for (const std::string command :
       {"fit", "self", "factors", "top", "spectrum", "report", "Scores"}) {
    ExpectUsageError(Parse(command), "command: found '" + command +
                                         "', expected inspect or scores");
  }
}

TEST(OptionsTest, AnUnknownOptionNamesThoseThatExist) {
  for (const std::string option : {"--by-block",
                                   "--top-k 3",
                                   "--resume",
                                   "--shard 1/2",
                                   "--memory-limit 4GiB",
                                   "--fitted f",
                                   "--factors f",
                                   "--store-gradients",
                                   "--score-tolerance 1e-3",
                                   "--tolerance 1e-3",
                                   "--max-iterations 3",
                                   "--preconditioner jacobi",
                                   "--rank 4",
                                   "--low-rank-inverse exact",
                                   "--scale 2",
                                   "--dampen 0.1",
                                   "--fisher empirical",
                                   "--uncovered drop",
                                   "--hyperdrive",
                                   "-x"}) {
    const std::string name = option.substr(0, option.find(' '));
    ExpectUsageError(Parse(kScores, option),
                     name +
                         ": found an unknown option, expected one of "
                         "--model, --train, --test, --loss, --out");
  }
  ExpectUsageError(Parse(kInspect, "--out s.npy"),
                   "--out: found an unknown option, expected one of --model");
  ExpectUsageError(Parse(kScores, "--fast=yes"), "--fast: found");
}

TEST(OptionsTest, AStrayWordIsRefused) {
  ExpectUsageError(Parse(kScores, "extra"), "found 'extra', expected options");
}

TEST(OptionsTest, EachRequiredOptionIsNamed) {
  for (const std::string option :
       {"--model", "--train", "--test", "--loss", "--method", "--out"}) {
    std::vector<std::string> words = absl::StrSplit(kScores, ' ');
    for (size_t i = 0; i < words.size(); ++i) {
      if (words[i] != option) continue;
      words.erase(words.begin() + i, words.begin() + i + 2);
    }
    ExpectUsageError(ParseCommandLine(words),
                     option + ": found nothing, expected");
  }
}

TEST(OptionsTest, AValueThatIsMissingIsNoticed) {
  ExpectUsageError(Parse(kScores, "--dtype"), "--dtype: found no value");
  ExpectUsageError(Parse(kScores, "--dtype --json"),
                   "--dtype: found no value, but the option '--json'");
  ExpectUsageError(Parse(kScores, "--dtype "), "--dtype: found an empty value");
}

TEST(OptionsTest, AnOptionGivenTwiceIsRefused) {
  ExpectUsageError(Parse(kScores, "--dtype float32 --dtype float64"),
                   "--dtype: found 2 values, expected one");
}

TEST(OptionsTest, ABadValueNamesWhatExists) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"--second-order fisher",
       "expected hessian or gauss_newton or generalized_gauss_newton"},
      {"--block-structure blocks", "expected full or layer or parameter"},
      {"--mode down", "expected up or perturbation"},
      {"--units dollars", "expected raw or loss_change"},
      {"--query-function loss2", "expected loss or margin or logit"},
      {"--dtype float16", "expected float32 or float64"},
      {"--batch-size 0", "expected auto or an integer >= 1"},
      {"--batch-size -1", "expected auto or an integer >= 1"},
      {"--batch-size 1.5", "expected auto or an integer >= 1"},
      {"--batch-size 99999999999", "expected auto or an integer >= 1"},
      {"--threads 0", "expected an integer from 1 to 1024"},
      {"--threads 1000000", "expected an integer from 1 to 1024"},
      {"--seed x", "expected an integer >= 0"},
      {"--regularization -1", "--regularization: "},
      {"--regularization nan", "--regularization: "},
      {"--regularization inf", "--regularization: "},
      {"--regularization lots", "--regularization: "},
      {"--regularization full=", "--regularization: "},
      {"--regularization full=1,full=2", "--regularization: "},
  };
  for (const auto& [words, message] : cases) {
    ExpectUsageError(Parse(kScores, words), message);
    ExpectUsageError(Parse(kScores, words),
                     words.substr(0, words.find(' ')) + ": ");
  }
}

TEST(OptionsTest, MethodsAndLossesThatDoNotExistNameThoseThatDo) {
  for (const std::string method : {"cg", "lissa", "arnoldi", "nystroem", "kfac",
                                   "ekfac", "ihm", "Direct"}) {
    ExpectUsageError(
        Parse("scores --model m --train t --test q --loss mse --out s.npy "
              "--method " +
              method),
        "--method: found '" + method + "', expected identity or direct");
  }
  ExpectUsageError(Parse("inspect --model m --train t --loss hinge"),
                   "--loss: found 'hinge', expected one of cross_entropy");
}

TEST(OptionsTest, OnlyNpyIsWritten) {
  for (const std::string out : {"s.zarr", "s", "s.npy.gz", "s.NPY"}) {
    ExpectUsageError(
        Parse("scores --model m --train t --test q --loss mse --method "
              "identity --out " +
              out),
        "--out: found '" + out + "', expected a path ending in .npy");
  }
}

TEST(OptionsTest, IdentityRefusesWhatItWouldIgnore) {
  ExpectUsageError(Parse(kIdentityScores, "--regularization 1e-3"),
                   "--regularization: found '1e-3', expected nothing with "
                   "--method identity");
  ExpectUsageError(Parse(kIdentityScores, "--second-order hessian"),
                   "--second-order: found 'hessian', expected nothing");
  INFLUENCE_EXPECT_OK(Parse(kIdentityScores, "--block-structure layer"));
}

TEST(OptionsTest, MarginAndLogitNeedCrossEntropy) {
  ExpectUsageError(
      Parse("scores --model m --train t --test q --loss mse --method identity "
            "--out s.npy --query-function margin"),
      "--query-function: found 'margin' with --loss mse, expected loss");
}

}  // namespace
}  // namespace influence
