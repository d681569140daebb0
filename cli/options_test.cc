// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_split.h"
#include "cli/method_options.h"
#include "cli/usage_error.h"
#include "gmock/gmock.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "influence/influence_mode.h"
#include "operators/curvature.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
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

constexpr char kFittedScores[] =
    "scores --fitted fitted --train train.npz --test test.npz --out s.npy";
constexpr char kFactorScores[] =
    "scores --factors f.zarr --fitted fitted --train train.npz --out s.npy";

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
  const auto& source = std::get<FitSource>(options.source);
  EXPECT_EQ(source.model, "m.pt");
  EXPECT_EQ(source.train, "train.npz");
  EXPECT_EQ(source.method.method, Method::kDirect);
  EXPECT_EQ(source.method.curvature, Curvature::kHessian);
  EXPECT_EQ(source.method.block_structure, BlockStructure::kFull);
  EXPECT_TRUE(source.method.regularization.is_auto());
  EXPECT_EQ(source.seed, 0);
  EXPECT_EQ(options.train, "train.npz");
  EXPECT_EQ(options.test, "test.npz");
  EXPECT_EQ(options.out, "s.npy");
  EXPECT_EQ(options.mode, InfluenceMode::kUp);
  EXPECT_EQ(options.units, Units::kRaw);
  EXPECT_EQ(options.query_function, "loss");
  EXPECT_EQ(options.score_tolerance, 0);
  EXPECT_FALSE(options.by_block);
  EXPECT_FALSE(options.overwrite);
}

TEST(OptionsTest, ScoresTakesEveryOption) {
  const ScoresOptions options = Scores(
      "scores --model m.pt --train train.npz --test test.npz --loss "
      "cross_entropy --method direct --out s.zarr --regularization=1e-3 "
      "--block-structure layer --second-order gauss_newton --mode perturbation "
      "--units loss_change --query-function margin --dtype float64 "
      "--batch-size 32 --threads 2 --seed 7 --by-block --overwrite --quiet "
      "--json");
  const auto& source = std::get<FitSource>(options.source);
  EXPECT_EQ(source.method.regularization.ToString(), "0.001");
  EXPECT_EQ(source.method.block_structure, BlockStructure::kLayer);
  EXPECT_EQ(source.method.curvature, Curvature::kGaussNewton);
  EXPECT_EQ(source.dtype, at::kDouble);
  EXPECT_EQ(source.seed, 7);
  EXPECT_EQ(options.mode, InfluenceMode::kPerturbation);
  EXPECT_EQ(options.units, Units::kLossChange);
  EXPECT_EQ(options.query_function, "margin");
  EXPECT_EQ(options.batch_size, 32);
  EXPECT_EQ(options.num_threads, 2);
  EXPECT_TRUE(options.by_block);
  EXPECT_TRUE(options.overwrite);
  EXPECT_TRUE(options.quiet);
  EXPECT_TRUE(options.json);
  EXPECT_EQ(
      Scores("scores --model m.pt --train a --test b --loss mse --method ekfac "
             "--out s.zarr/ --score-tolerance 1e-3")
          .score_tolerance,
      1e-3);
}

TEST(OptionsTest, TopKNeedsAStoreAndOneArrayOfScores) {
  EXPECT_FALSE(Scores(kScores).top_k.has_value());
  const std::string store =
      "scores --fitted f --train a --test b --out s.zarr --top-k ";
  EXPECT_EQ(Scores(store + "7").top_k, 7);
  EXPECT_EQ(Scores(store + "1 --resume --units loss_change").top_k, 1);
  ExpectUsageError(Parse(store + "0"),
                   "--top-k: found '0', expected an integer >= 1");
  ExpectUsageError(Parse(store + "many"), "--top-k: found 'many'");
  ExpectUsageError(Parse(store + "7 --by-block"),
                   "--top-k: found '7', expected nothing with --by-block");
  ExpectUsageError(
      Parse(store + "7 --mode perturbation"),
      "--top-k: found '7', expected nothing with --mode perturbation");
  EXPECT_EQ(Scores(store + "7 --shard 1/2").top_k, 7);
  ExpectUsageError(Parse(kScores, "--top-k 7"),
                   "--top-k: found '7' with --out 's.npy', expected a path "
                   "ending in .zarr");
}

TEST(OptionsTest, TopTakesAStore) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const CommandLine line,
      Parse("top --scores s.zarr/ --k 3 --json --quiet"));
  const auto& options = std::get<TopOptions>(line);
  EXPECT_EQ(options.scores, "s.zarr");
  EXPECT_EQ(options.k, 3);
  EXPECT_TRUE(options.json);
  EXPECT_TRUE(options.quiet);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const CommandLine least,
                                 Parse("top --scores s.zarr"));
  EXPECT_FALSE(std::get<TopOptions>(least).k.has_value());
  ExpectUsageError(Parse("top"), "--scores: found nothing");
  ExpectUsageError(Parse("top --scores s.npy"),
                   "--scores: found 's.npy', expected a path ending in .zarr "
                   "(a .npy file does not say");
  ExpectUsageError(Parse("top --scores s.zarr --k 0"),
                   "--k: found '0', expected an integer >= 1");
}

TEST(OptionsTest, ReportTakesAStoreAndItsData) {
  const std::string report =
      "report --scores s.zarr/ --train a.npz --test b --out r.html ";
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const CommandLine line,
      Parse(report + "--queries 3 --k 5 --overwrite --quiet"));
  const auto& options = std::get<ReportOptions>(line);
  EXPECT_EQ(options.scores, "s.zarr");
  EXPECT_EQ(options.train, "a.npz");
  EXPECT_EQ(options.test, "b");
  EXPECT_EQ(options.out, "r.html");
  EXPECT_EQ(options.num_queries, 3);
  EXPECT_EQ(options.k, 5);
  EXPECT_TRUE(options.overwrite);
  EXPECT_TRUE(options.quiet);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const CommandLine least,
      Parse("report --scores s.zarr --train a --test b --out r.html"));
  EXPECT_EQ(std::get<ReportOptions>(least).num_queries, 20);
  EXPECT_FALSE(std::get<ReportOptions>(least).k.has_value());
  ExpectUsageError(Parse(report + "--queries 0"), "--queries: found '0'");
  ExpectUsageError(
      Parse("report --scores s.zarr --train a --test b --out r.htm"),
      "--out: found 'r.htm', expected a path ending in .html");
  ExpectUsageError(
      Parse("report --scores s.npy --train a --test b --out r.html"),
      "--scores: found 's.npy', expected a path ending in .zarr");
}

TEST(OptionsTest, FitTakesTheOptionsOfItsMethod) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const CommandLine line,
      Parse("fit --model m.pt --train train.npz --loss mse --method arnoldi "
            "--rank 7 --regularization 0.5 --out folder/ --seed 3 --json"));
  const auto& options = std::get<FitOptions>(line);
  EXPECT_EQ(options.out, "folder");
  EXPECT_EQ(options.source.model, "m.pt");
  EXPECT_EQ(options.source.train, "train.npz");
  EXPECT_EQ(options.source.loss.name(), "mse");
  EXPECT_EQ(options.source.method.method, Method::kArnoldi);
  EXPECT_EQ(options.source.method.rank, 7);
  EXPECT_EQ(options.source.seed, 3);
  EXPECT_TRUE(options.json);
}

TEST(OptionsTest, WhatIsFittedAlreadyNeedsNoMethod) {
  const ScoresOptions scores = Scores(kFittedScores);
  EXPECT_EQ(std::get<FittedSource>(scores.source).folder, "fitted");
  EXPECT_EQ(std::get<FittedSource>(scores.source).model, "");
  EXPECT_EQ(scores.train, "train.npz");
  EXPECT_EQ(scores.test, "test.npz");
  EXPECT_EQ(scores.factors, "");
  EXPECT_EQ(std::get<FittedSource>(
                Scores(std::string(kFittedScores) + " --model n.pt").source)
                .model,
            "n.pt");
  const ScoresOptions from_factors = Scores(kFactorScores);
  EXPECT_EQ(std::get<FittedSource>(from_factors.source).folder, "fitted");
  EXPECT_EQ(from_factors.factors, "f.zarr");
  EXPECT_EQ(from_factors.test, "");

  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const CommandLine factors,
      Parse("factors --fitted fitted --test test.npz --out f.zarr "
            "--query-function logit --model n.pt"));
  EXPECT_EQ(std::get<FactorsOptions>(factors).source.folder, "fitted");
  EXPECT_EQ(std::get<FactorsOptions>(factors).source.model, "n.pt");
  EXPECT_EQ(std::get<FactorsOptions>(factors).test, "test.npz");
  EXPECT_EQ(std::get<FactorsOptions>(factors).query_function, "logit");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const CommandLine self,
      Parse("self --fitted fitted --train train.npz --out s.npy "
            "--units loss_change"));
  EXPECT_EQ(std::get<SelfOptions>(self).train, "train.npz");
  EXPECT_EQ(std::get<SelfOptions>(self).units, Units::kLossChange);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const CommandLine spectrum,
                                 Parse("spectrum --fitted fitted"));
  EXPECT_EQ(std::get<SpectrumOptions>(spectrum).test, "");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const CommandLine sensitivity,
      Parse("spectrum --fitted fitted --test test.npz --regularizations "
            "1e-4,1e-3,0.01"));
  EXPECT_THAT(std::get<SpectrumOptions>(sensitivity).regularizations,
              ElementsAre(1e-4, 1e-3, 0.01));
}

TEST(OptionsTest, TheFitsOptionsBesideFittedAreRefused) {
  for (const std::string option :
       {"--loss mse", "--method direct", "--regularization 1e-3",
        "--block-structure layer", "--second-order hessian", "--tolerance 1e-3",
        "--max-iterations 3", "--preconditioner none", "--rank 4",
        "--low-rank-inverse exact", "--scale 2", "--dampen 0.1",
        "--fisher exact", "--uncovered drop", "--dtype float64", "--seed 1"}) {
    const size_t space = option.find(' ');
    ExpectUsageError(Parse(kFittedScores, option),
                     option.substr(0, space) + ": found '" +
                         option.substr(space + 1) +
                         "', expected nothing beside --fitted");
    ExpectUsageError(Parse(kFactorScores, option),
                     "expected nothing beside --fitted");
  }
  for (const std::string option :
       {"--test t.npz", "--query-function loss", "--score-tolerance 0.1"}) {
    ExpectUsageError(Parse(kFactorScores, option),
                     option.substr(0, option.find(' ')) + ": found '");
    ExpectUsageError(Parse(kFactorScores, option),
                     "expected nothing beside --factors");
  }
  ExpectUsageError(Parse("scores --factors f.zarr --train t --out s.npy"),
                   "--fitted: found nothing");
  ExpectUsageError(
      Parse("scores --factors f.npy --fitted g --train t --out s.npy"),
      "--factors: found 'f.npy', expected a path ending in .zarr");
}

TEST(OptionsTest, SpectrumComparesTwoValuesOrMore) {
  ExpectUsageError(Parse("spectrum --fitted f --test t"),
                   "--regularizations: found nothing, expected two or more");
  ExpectUsageError(Parse("spectrum --fitted f --test t --regularizations 1"),
                   "--regularizations: found one value, expected two or more");
  INFLUENCE_EXPECT_OK(Parse("spectrum --fitted f --regularizations 1"));
  ExpectUsageError(Parse("spectrum --fitted f --query-function logit"),
                   "--query-function: found 'logit', expected nothing without");
  for (const std::string list : {"1,-1", "1,,2", "a", "1,inf"}) {
    ExpectUsageError(
        Parse("spectrum --fitted f --test t --regularizations " + list),
        "--regularizations: found '");
  }
}

TEST(OptionsTest, RegularizationMayBeAutoOrByBlock) {
  EXPECT_TRUE(
      std::get<FitSource>(
          Scores(std::string(kScores) + " --regularization auto").source)
          .method.regularization.is_auto());
  EXPECT_FALSE(
      std::get<FitSource>(Scores(std::string(kScores) +
                                 " --block-structure layer --regularization "
                                 "net.0=1e-3,net.2=0.5")
                              .source)
          .method.regularization.is_auto());
}

TEST(OptionsTest, HelpHasAnExample) {
  EXPECT_THAT(Text("--help"),
              AllOf(HasSubstr("inspect"), HasSubstr("--method ekfac")));
  EXPECT_EQ(Text("--help"), Text("-h"));
  for (const std::string command :
       {"inspect", "fit", "scores", "factors", "self", "spectrum"}) {
    EXPECT_THAT(Text("--help"), HasSubstr("\n  " + command + " "));
    EXPECT_THAT(Text(command + " --help"),
                AllOf(HasSubstr("influence " + command), HasSubstr("--model"),
                      HasSubstr("--batch-size"), HasSubstr("Example")));
  }
  EXPECT_THAT(Text("scores --help"), HasSubstr("--query-function"));
}

TEST(OptionsTest, VersionNamesLibTorchToo) {
  EXPECT_THAT(Text("--version"),
              MatchesRegex("influence [0-9.]+ \\(LibTorch [0-9.]+\\)\n"));
}

TEST(OptionsTest, AnUnknownCommandNamesThoseThatExist) {
  constexpr char kExpected[] =
      "expected inspect, fit, scores, factors, self, spectrum";
  ExpectUsageError(ParseCommandLine({}),
                   std::string("command: found nothing, ") + kExpected);
  for (const std::string command : {"explain", "Scores"}) {
    ExpectUsageError(Parse(command),
                     "command: found '" + command + "', " + kExpected);
  }
}

TEST(OptionsTest, AnUnknownOptionNamesThoseThatExist) {
  for (const std::string option :
       {"--top 3", "--store-gradients", "--hyperdrive", "-x"}) {
    const std::string name = option.substr(0, option.find(' '));
    ExpectUsageError(Parse(kScores, option),
                     name +
                         ": found an unknown option, expected one of "
                         "--model, --train, --test, --loss, --logits-layout, "
                         "--fitted, --factors, --out");
  }
  ExpectUsageError(Parse(kInspect, "--out s.npy"),
                   "--out: found an unknown option, expected one of --model");
  ExpectUsageError(Parse("self --fitted f --train t --out s.npy", "--rank 3"),
                   "--rank: found an unknown option, expected one of --fitted");
  ExpectUsageError(Parse(kScores, "--fast=yes"), "--fast: found");
}

TEST(OptionsTest, TheLogitsLayoutIsOfCrossEntropyAlone) {
  const std::string line = "inspect --model m.pt --train a --logits-layout ";
  for (const LogitsLayout layout :
       {LogitsLayout::kClassesLast, LogitsLayout::kClassesSecond}) {
    const ScoresOptions options = Scores(
        absl::StrCat(kScores, " --logits-layout ", LogitsLayoutName(layout)));
    EXPECT_EQ(std::get<FitSource>(options.source).logits_layout, layout);
  }
  ExpectUsageError(Parse(line + "classes_last --loss mse"),
                   "--logits-layout: found 'classes_last' with --loss mse, "
                   "expected it only with --loss cross_entropy");
  ExpectUsageError(Parse(line + "first --loss cross_entropy"),
                   "--logits-layout: found 'first', expected classes_last or "
                   "classes_second");
  // The fit remembers it.
  ExpectUsageError(Parse(kFittedScores, "--logits-layout classes_last"),
                   "--logits-layout: found");
}

TEST(OptionsTest, AStrayWordIsRefused) {
  ExpectUsageError(Parse(kScores, "extra"), "found 'extra', expected options");
}

TEST(OptionsTest, EachRequiredOptionIsNamed) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> commands =
      {{kScores,
        {"--model", "--train", "--test", "--loss", "--method", "--out"}},
       {kFittedScores, {"--train", "--test", "--out"}},
       {kFactorScores, {"--fitted", "--train", "--out"}},
       {"fit --model m.pt --train t --loss mse --method cg --out f",
        {"--model", "--train", "--loss", "--method", "--out"}},
       {"factors --fitted f --test t --out f.zarr",
        {"--fitted", "--test", "--out"}},
       {"self --fitted f --train t --out s.npy",
        {"--fitted", "--train", "--out"}},
       {"spectrum --fitted f", {"--fitted"}},
       {"top --scores s.zarr", {"--scores"}},
       {"report --scores s.zarr --train a --test b --out r.html",
        {"--scores", "--train", "--test", "--out"}}};
  for (const auto& [line, options] : commands) {
    for (const std::string& option : options) {
      std::vector<std::string> words = absl::StrSplit(line, ' ');
      for (size_t i = 0; i < words.size(); ++i) {
        if (words[i] != option) continue;
        words.erase(words.begin() + i, words.begin() + i + 2);
      }
      ExpectUsageError(ParseCommandLine(words),
                       option + ": found nothing, expected");
    }
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
      {"--score-tolerance 1", "expected a number in [0, 1)"},
      {"--score-tolerance -1", "expected a number in [0, 1)"},
      {"--score-tolerance 0.1", "expected nothing with --method direct"},
      {"--by-block", "expected a path ending in .zarr for --out"},
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
  ExpectUsageError(
      Parse("scores --model m --train t --test q --loss mse --out s.npy "
            "--method ekfac --mode perturbation --score-tolerance 0.1"),
      "--score-tolerance: found '0.1', expected nothing with --mode "
      "perturbation");
}

TEST(OptionsTest, MethodsAndLossesThatDoNotExistNameThoseThatDo) {
  for (const std::string command :
       {"scores --test q --out s.npy", "fit --out f"}) {
    ExpectUsageError(
        Parse(command + " --model m --train t --loss mse --method magic"),
        "--method: found 'magic', expected identity or direct or cg or lissa");
  }
  ExpectUsageError(Parse("inspect --model m --train t --loss hinge"),
                   "--loss: found 'hinge', expected one of cross_entropy");
}

TEST(OptionsTest, AnOptionOfAnotherMethodIsRefused) {
  ExpectUsageError(Parse(kScores, "--rank 4"),
                   "--rank: found '4', expected nothing with --method direct, "
                   "which has --regularization, --block-structure, "
                   "--second-order");
  ExpectUsageError(Parse(kIdentityScores, "--regularization 1e-3"),
                   "--regularization: found '1e-3', expected nothing with "
                   "--method identity");
  ExpectUsageError(Parse(kIdentityScores, "--second-order hessian"),
                   "--second-order: found 'hessian', expected nothing");
  INFLUENCE_EXPECT_OK(Parse(kIdentityScores, "--block-structure layer"));
}

TEST(OptionsTest, ArraysGoToZarrOrNpy) {
  for (const std::string out : {"s", "s.npy.gz", "s.NPY", "s.npz", "s.npy/"}) {
    ExpectUsageError(
        Parse("scores --model m --train t --test q --loss mse --method "
              "identity --out " +
              out),
        "--out: found '" + out + "', expected a path ending in .zarr or .npy");
    ExpectUsageError(Parse("self --fitted f --train t --out " + out),
                     "--out: found '" + out + "'");
    ExpectUsageError(Parse("factors --fitted f --test t --out " + out),
                     "--out: found '" + out + "'");
  }
  for (const std::string out : {"s.zarr", "s.npy", "s.zarr/"}) {
    INFLUENCE_EXPECT_OK(Parse("self --fitted f --train t --out " + out));
  }
}

TEST(OptionsTest, MemoryMayBeLimited) {
  EXPECT_FALSE(Scores(kScores).memory_limit.has_value());
  EXPECT_EQ(Scores(std::string(kScores) + " --memory-limit 4GiB").memory_limit,
            int64_t{4} << 30);
  for (const std::string command :
       {"self --fitted f --train t --out s.npy",
        "factors --fitted f --test t --out s.npy",
        "fit --model m --train t --loss mse --method cg --out f"}) {
    INFLUENCE_EXPECT_OK(Parse(command, "--memory-limit 800MB"));
  }
  ExpectUsageError(Parse(kScores, "--memory-limit much"),
                   "--memory-limit: found 'much', expected a number of bytes");
  ExpectUsageError(Parse(kInspect, "--memory-limit 1GiB"),
                   "--memory-limit: found an unknown option");
}

TEST(OptionsTest, ARunMayBeResumedOrCutIntoShards) {
  const std::string fitted =
      "scores --fitted f --train t --test q --out s.zarr";
  EXPECT_FALSE(Scores(fitted).resume);
  EXPECT_FALSE(Scores(fitted).shard.has_value());
  EXPECT_TRUE(Scores(fitted + " --resume").resume);
  EXPECT_TRUE(Scores(fitted + " --resume --overwrite").overwrite);
  const ScoresOptions shard = Scores(fitted + " --shard 3/8");
  EXPECT_EQ(shard.shard->index, 3);
  EXPECT_EQ(shard.shard->count, 8);
  for (const std::string command :
       {"self --fitted f --train t --out s.zarr --shard 1/1 --resume",
        "factors --fitted f --test t --out s.zarr --shard 2/2",
        "fit --model m --train t --loss mse --method cg --out f --resume",
        "scores --model m --train t --test q --loss mse --method identity "
        "--out s.zarr --shard 1/2"}) {
    INFLUENCE_EXPECT_OK(Parse(command));
  }
  for (const std::string text : {"0/2", "3/2", "1", "1/2/3", "a/b", "-1/2"}) {
    ExpectUsageError(Parse(fitted + " --shard " + text),
                     "--shard: found '" + text + "', expected I/N");
  }
  ExpectUsageError(Parse(fitted + " --shard 1/2 --overwrite"),
                   "--overwrite: found '--overwrite', expected nothing beside "
                   "--shard");
  // A file is written at the end, and by one process.
  ExpectUsageError(Parse(kFittedScores, "--resume"),
                   "--resume: found 's.npy', expected a path ending in .zarr");
  ExpectUsageError(Parse(kFittedScores, "--shard 1/2"),
                   "--shard: found 's.npy', expected a path ending in .zarr");
  // Every shard would fit for itself.
  ExpectUsageError(
      Parse("scores --model m --train t --test q --loss mse --method ekfac "
            "--out s.zarr --shard 1/2"),
      "--shard: found '1/2', expected --fitted beside it");
  ExpectUsageError(
      Parse("fit --model m --train t --loss mse --method cg --out f "
            "--shard 1/2"),
      "--shard: found an unknown option");
}

TEST(OptionsTest, MarginAndLogitNeedCrossEntropy) {
  ExpectUsageError(
      Parse("scores --model m --train t --test q --loss mse --method identity "
            "--out s.npy --query-function margin"),
      "--query-function: found 'margin' with --loss mse, expected loss");
  const absl::StatusOr<PerSampleFunction> margin =
      ResolveQueryFunction("margin", CrossEntropyLoss());
  INFLUENCE_ASSERT_OK(margin);
  EXPECT_TRUE(margin->higher_is_better());
  EXPECT_TRUE(IsUsageError(
      ResolveQueryFunction("margin", MeanSquaredErrorLoss()).status()));
}

}  // namespace
}  // namespace influence
