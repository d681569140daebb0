// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// `influence report` through the program: pages that are well-formed, load
// nothing, and show the samples that the scores point at.
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/html_checker.h"
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
using ::testing::Not;
using ::testing::StartsWith;

// Runs "influence <more>", in which words that begin with "@" are names in the
// problem's folder.
CommandResult RunIn(const CliProblem& problem, const std::string& more) {
  std::vector<std::string> words = Words(more);
  for (std::string& word : words) {
    if (word[0] == '@') word = problem.Path(word.substr(1));
  }
  return RunInfluence(words);
}

void Scores(const CliProblem& problem, const std::string& more) {
  const CommandResult result = RunIn(
      problem,
      absl::StrCat("scores --quiet --dtype float64 --method direct "
                   "--regularization 0.5 --loss ",
                   problem.golden.loss, " --model ", problem.golden.model_path,
                   " --train @train --test @test ", more));
  ASSERT_EQ(result.exit_code, 0) << result.err;
}

constexpr char kReport[] =
    "report --scores @s.zarr --train @train --test @test --out @r.html ";

// The page, checked. Empty, with a test failure, if it is not made.
std::string Report(const CliProblem& problem, const std::string& more) {
  const CommandResult result =
      RunIn(problem, kReport + more + " --quiet --overwrite");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_THAT(result.err, IsEmpty());
  const std::string html = ReadText(problem.Path("r.html"));
  EXPECT_THAT(CheckHtml(html), IsOk());
  EXPECT_THAT(html, Not(HasSubstr("://")));
  return html;
}

void ExpectFailure(const CliProblem& problem, const std::string& more,
                   int exit_code, const std::string& message) {
  const CommandResult result = RunIn(problem, more);
  EXPECT_EQ(result.exit_code, exit_code) << more << "\n" << result.err;
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_THAT(result.err,
              AllOf(StartsWith("influence: error: "), HasSubstr(message)));
}

TEST(CliReportTest, ShowsImagesLabelsAndWhatWasRun) {
  const CliProblem problem = LoadCliProblem("cnn");
  Scores(problem, "--out @s.zarr");
  const std::string html = Report(problem, "--queries 2 --k 3");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const HtmlSummary summary, CheckHtml(html));
  EXPECT_EQ(summary.num_images, 2 * (1 + 2 * 3));
  EXPECT_EQ(summary.elements.at("article"), 2);
  EXPECT_EQ(summary.elements.at("svg"), 3);
  EXPECT_THAT(html, AllOf(HasSubstr("the first 2 of 3 queries"),
                          HasSubstr("<dt>Method</dt><dd>direct</dd>"),
                          HasSubstr("<dt>Regularization</dt><dd>0.5</dd>"),
                          HasSubstr("<dt>Units</dt><dd>raw</dd>"),
                          HasSubstr("positive: without the training sample"),
                          HasSubstr("12 scores")));
  // Who is shown is who `top` names.
  const CommandResult top =
      RunIn(problem, "top --scores @s.zarr --k 3 --json --quiet");
  const auto json = nlohmann::json::parse(top.out);
  for (const char* side : {"helpful", "harmful"}) {
    for (const auto& entry : json["queries"][1][side]) {
      const auto index = entry["train"].get<int64_t>();
      EXPECT_THAT(html, HasSubstr(absl::StrCat(
                            "alt=\"Training sample ", index, ", label ",
                            problem.arrays.at("y")[index].item<int64_t>())));
    }
  }
}

TEST(CliReportTest, OtherInputsHaveIndexAndLabelOnly) {
  const CliProblem problem = LoadCliProblem("mlp");
  Scores(problem, "--out @s.zarr --top-k 2 --query-function margin");
  const std::string html = Report(problem, "");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const HtmlSummary summary, CheckHtml(html));
  EXPECT_EQ(summary.num_images, 0);
  EXPECT_EQ(summary.elements.at("article"), 3);
  EXPECT_THAT(html, AllOf(HasSubstr("all 3 queries"),
                          HasSubstr("<body class=\"negative\">"),
                          HasSubstr("the 2 most helpful and harmful scores"),
                          HasSubstr("<dt>Kept of each query</dt><dd>2</dd>"),
                          HasSubstr("label <b>")));
  ExpectFailure(problem, std::string(kReport) + "--overwrite --k 3", 2,
                "--k: found 3, expected at most the 2");
}

TEST(CliReportTest, DataOfOtherScoresAreRefused) {
  const CliProblem problem = LoadCliProblem("mlp");
  Scores(problem, "--out @s.zarr");
  const std::string report = "report --scores @s.zarr --out @r.html ";
  ExpectFailure(problem, report + "--train @train --test @train", 1,
                "train: found 7 samples of fingerprint ");
  ExpectFailure(problem, report + "--train @test --test @test", 1,
                "expected the training data of ");
  // The same numbers of samples, one byte changed.
  const std::string labels = problem.Path("train/y.npy");
  std::string bytes = ReadText(labels);
  // The lowest byte of the last int64.
  bytes[bytes.size() - 8] = static_cast<char>(bytes[bytes.size() - 8] ^ 1);
  std::ofstream(labels, std::ios::binary) << bytes;
  ExpectFailure(problem, report + "--train @train --test @test", 1,
                "train: found 7 samples of fingerprint ");
  EXPECT_FALSE(std::filesystem::exists(problem.Path("r.html")));
}

TEST(CliReportTest, WhatExistsStaysAndWhatIsDamagedIsNamed) {
  const CliProblem problem = LoadCliProblem("mlp");
  Scores(problem, "--out @s.zarr");
  std::ofstream(problem.Path("r.html")) << "mine";
  ExpectFailure(problem, kReport, 1,
                "r.html: found an existing file, expected none, or "
                "--overwrite");
  std::ofstream(problem.Path("s.zarr/c/0/0"), std::ios::binary) << "damaged";
  ExpectFailure(problem, std::string(kReport) + "--overwrite --quiet", 1,
                "s.zarr/c/0/0: ");
  EXPECT_EQ(ReadText(problem.Path("r.html")), "mine");
  ExpectFailure(problem,
                "report --scores @none.zarr --train @train --test @test --out "
                "@r2.html",
                1, "none.zarr: found nothing there");
}

}  // namespace
}  // namespace influence
