// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The strongest scores through the `influence` program: kept by `scores
// --top-k` and printed by `top`, against sorting all scores.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "calculators/zarr_array.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/cli_problem.h"
#include "tests/support/influence_command.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

using Json = nlohmann::json;

// Runs "influence <more>", in which words that begin with "@" are names in the
// problem's folder.
CommandResult RunIn(const CliProblem& problem, const std::string& more) {
  std::vector<std::string> words = Words(more);
  for (std::string& word : words) {
    if (word[0] == '@') word = problem.Path(word.substr(1));
  }
  return RunInfluence(words);
}

std::string ScoresWords(const CliProblem& problem) {
  return absl::StrCat("scores --method direct --regularization 0.5 --loss ",
                      problem.golden.loss, " --model ",
                      problem.golden.model_path,
                      " --train @train --test @test ");
}

// The k first of a stable sort of each row of scores.
Json Strongest(const at::Tensor& scores, int64_t k, bool positive_helps) {
  Json queries = Json::array();
  for (int64_t i = 0; i < scores.size(0); ++i) {
    Json query;
    query["query"] = i;
    for (const bool helpful : {true, false}) {
      std::vector<int64_t> order(scores.size(1));
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        const double x = scores[i][a].item<double>();
        const double y = scores[i][b].item<double>();
        return helpful == positive_helps ? x > y : x < y;
      });
      Json side = Json::array();
      for (int64_t e = 0; e < k; ++e) {
        side.push_back({{"train", order[e]},
                        {"score", scores[i][order[e]].item<double>()}});
      }
      query[helpful ? "helpful" : "harmful"] = side;
    }
    queries.push_back(query);
  }
  return {{"queries", queries}};
}

void ExpectUsageError(const CliProblem& problem, const std::string& more,
                      const std::string& message, int exit_code = 2) {
  const CommandResult result = RunIn(problem, more);
  EXPECT_EQ(result.exit_code, exit_code) << more << "\n" << result.err;
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_THAT(result.err,
              AllOf(StartsWith("influence: error: "), HasSubstr(message)));
}

TEST(CliTopTest, TopOfAllScoresAndOfTheStrongestAreTheSame) {
  const CliProblem problem = LoadCliProblem("mlp");
  struct Case {
    std::string options;
    bool positive_helps;
  };
  const std::vector<Case> cases = {
      {"--batch-size 3", true},
      {"--units loss_change", true},
      {"--query-function margin --batch-size 2 --dtype float64", false}};
  for (const Case& each : cases) {
    SCOPED_TRACE(each.options);
    const std::string scores =
        ScoresWords(problem) + each.options + " --overwrite ";
    const at::Tensor all = problem.Run(scores, "all.zarr");
    ASSERT_TRUE(all.defined());
    const CommandResult top = RunIn(problem,
                                    "top --scores @all.zarr --k 4 "
                                    "--json --quiet");
    ASSERT_EQ(top.exit_code, 0) << top.err;
    EXPECT_THAT(top.err, IsEmpty());
    EXPECT_EQ(Json::parse(top.out), Strongest(all, 4, each.positive_helps));

    // The same batches, so that the scores are the same to the last bit.
    const CommandResult kept =
        RunIn(problem, scores + "--top-k 5 --out @kept.zarr --quiet");
    ASSERT_EQ(kept.exit_code, 0) << kept.err;
    const CommandResult of_kept =
        RunIn(problem, "top --scores @kept.zarr/ --k 4 --json --quiet");
    ASSERT_EQ(of_kept.exit_code, 0) << of_kept.err;
    EXPECT_EQ(of_kept.out, top.out);
  }
}

TEST(CliTopTest, AStoreOfTheStrongestSaysWhatItIs) {
  const CliProblem problem = LoadCliProblem("mlp");
  const CommandResult result = RunIn(
      problem, ScoresWords(problem) + "--top-k 5 --out @kept.zarr --json");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("the 5 most helpful and harmful of "));
  const Json json = Json::parse(result.out);
  EXPECT_EQ(json["kind"], "top_k");
  EXPECT_EQ(json["top_k"], 5);
  EXPECT_EQ(json["num_train"], problem.golden.num_train);
  EXPECT_EQ(json["num_test"], problem.golden.num_test);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrGroup group,
                                 ZarrGroup::Open(problem.Path("kept.zarr")));
  EXPECT_EQ(group.attributes()["sign"], "positive_helps");
  EXPECT_EQ(group.attributes()["units"], "raw");
  EXPECT_EQ(group.attributes()["method"], "direct");
  EXPECT_EQ(group.attributes()["num_train"], problem.golden.num_train);
  EXPECT_EQ(
      group.attributes()["fingerprints"]["train"].get<std::string>().size(),
      64u);
  for (const std::string side : {"helpful", "harmful"}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArray indices,
                                   group.OpenArray(side + "_indices"));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArray scores,
                                   group.OpenArray(side + "_scores"));
    const std::vector<int64_t> shape = {problem.golden.num_test, 5};
    EXPECT_EQ(indices.shape(), shape);
    EXPECT_EQ(scores.shape(), shape);
    EXPECT_EQ(indices.dtype(), at::kLong);
    EXPECT_EQ(scores.dtype(), at::kFloat);
  }
}

TEST(CliTopTest, TheTableSaysHowToReadIt) {
  const CliProblem problem = LoadCliProblem("mlp");
  const at::Tensor all = problem.Run(
      ScoresWords(problem) + "--query-function logit --units loss_change",
      "s.zarr");
  const CommandResult result = RunIn(problem, "top --scores @s.zarr");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(
      result.out,
      AllOf(HasSubstr("s.zarr: the 7 most helpful and harmful of 7 "),
            HasSubstr("units loss_change\n"),
            HasSubstr("\nsign: positive: without the training sample the "
                      "query's logit would be higher, so the sample harms")));
  // A heading of two lines, then one a rank, all of one length.
  const std::vector<std::string> blocks = absl::StrSplit(result.out, "\n\n");
  ASSERT_EQ(blocks.size(), 2u);
  const std::vector<std::string> lines =
      absl::StrSplit(blocks[1], '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 2u + 7 * problem.golden.num_test);
  for (size_t i = 2; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i].size(), lines[1].size()) << lines[i];
  }
  const Json strongest = Strongest(all, 1, /*positive_helps=*/false);
  const std::vector<std::string> words =
      absl::StrSplit(lines[2], ' ', absl::SkipEmpty());
  ASSERT_EQ(words.size(), 6u);
  EXPECT_EQ(words[0], "0");
  EXPECT_EQ(words[1], "1");
  EXPECT_EQ(words[2],
            absl::StrCat(
                strongest["queries"][0]["helpful"][0]["train"].get<int64_t>()));
  EXPECT_EQ(words[4],
            absl::StrCat(
                strongest["queries"][0]["harmful"][0]["train"].get<int64_t>()));
}

TEST(CliTopTest, KAboveWhatThereIsIsWrongUsage) {
  const CliProblem problem = LoadCliProblem("mlp");
  const std::string too_many = absl::StrCat(problem.golden.num_train + 1);
  ExpectUsageError(
      problem,
      ScoresWords(problem) + "--out @s.zarr --quiet --top-k " + too_many,
      absl::StrCat("--top-k: found ", too_many, ", expected at most the ",
                   problem.golden.num_train, " samples of "));
  EXPECT_FALSE(std::filesystem::exists(problem.Path("s.zarr")));
  problem.Run(ScoresWords(problem), "all.zarr");
  ExpectUsageError(problem, "top --scores @all.zarr --k " + too_many,
                   absl::StrCat("--k: found ", too_many));
  const CommandResult kept = RunIn(
      problem, ScoresWords(problem) + "--top-k 3 --out @kept.zarr --quiet");
  ASSERT_EQ(kept.exit_code, 0) << kept.err;
  ExpectUsageError(problem, "top --scores @kept.zarr --k 4",
                   "--k: found 4, expected at most the 3 that --top-k has "
                   "kept in ");
  // By itself as many as there are.
  const CommandResult top = RunIn(problem, "top --scores @kept.zarr --json");
  EXPECT_EQ(Json::parse(top.out)["queries"][0]["helpful"].size(), 3u);
}

TEST(CliTopTest, WhatIsNoWholeStoreOfScoresIsNamed) {
  const CliProblem problem = LoadCliProblem("mlp");
  problem.Run(ScoresWords(problem), "s.npy");
  ExpectUsageError(problem, "top --scores @s.npy", "--scores: found '");
  ExpectUsageError(problem, "top --scores @none.zarr",
                   "none.zarr: found nothing there", 1);
  problem.Run(ScoresWords(problem) + "--by-block", "blocks.zarr/");
  ExpectUsageError(problem, "top --scores @blocks.zarr",
                   "blocks.zarr: found several arrays of scores", 1);
  problem.Run(ScoresWords(problem), "s.zarr");
  const std::string chunk = problem.Path("s.zarr/c/0/0");
  ASSERT_TRUE(std::filesystem::exists(chunk));
  std::ofstream(chunk, std::ios::binary) << "damaged";
  ExpectUsageError(problem, "top --scores @s.zarr --json --quiet",
                   "s.zarr/c/0/0: ", 1);
  std::filesystem::rename(problem.Path("s.zarr"),
                          problem.Path("half.zarr.incomplete"));
  ExpectUsageError(problem, "top --scores @half.zarr",
                   "half.zarr.incomplete of an unfinished run", 1);
}

TEST(CliTopTest, GoingOnWithAnotherKIsRefused) {
  const CliProblem problem = LoadCliProblem("mlp");
  const std::string scores = ScoresWords(problem) + "--out @s.zarr --quiet ";
  ASSERT_EQ(RunIn(problem, scores + "--top-k 3").exit_code, 0);
  // Nothing is left to do.
  EXPECT_EQ(RunIn(problem, scores + "--top-k 3 --resume").exit_code, 0);
  ExpectUsageError(problem, scores + "--top-k 4 --resume",
                   "--top-k: found 4, expected 3", 1);
}

}  // namespace
}  // namespace influence
