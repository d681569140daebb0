// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The page and the files beside it.
#include "examples/digits/report_folder.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>

#include "ATen/core/Tensor.h"
#include "ATen/ops/equal.h"
#include "absl/strings/str_cat.h"
#include "calculators/npy_file.h"
#include "cli/html_checker.h"
#include "cli/html_text.h"
#include "examples/digits/digits_experiment.h"
#include "examples/digits/digits_experiment_testing.h"
#include "examples/digits/ranking.h"
#include "examples/digits/report_page.h"
#include "gmock/gmock.h"
#include "gradients/model.h"
#include "gradients/script_model.h"
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

ReportContext Context() {
  return {.folder = "my <folder>", .libraries = "LibTorch & co"};
}

at::Tensor ReadArray(const std::string& path) {
  auto file = NpyFile::Open(path);
  INFLUENCE_EXPECT_OK(file);
  auto values = file->ReadAll();
  INFLUENCE_EXPECT_OK(values);
  return *values;
}

TEST(RenderReportTest, IsOneWellFormedPageThatLoadsNothing) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string page,
                                 RenderReport(Experiment(), Context()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const HtmlSummary summary, CheckHtml(page));
  // 60 suspects; for each of two errors the digit, 6 harmful and 6 helpful.
  EXPECT_EQ(summary.num_images, 60 + 2 * 13);
  EXPECT_EQ(summary.elements.at("h1"), 1);
  EXPECT_EQ(summary.elements.at("article"), 2);
  EXPECT_EQ(summary.elements.at("main"), 1);
}

TEST(RenderReportTest, SaysWhatWasFound) {
  const DigitsExperiment& experiment = Experiment();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string page,
                                 RenderReport(experiment, Context()));
  EXPECT_THAT(page, HasSubstr(absl::StrCat(experiment.rankings[0].num_found[30],
                                           " of 30")));
  for (const DigitsRanking& ranking : experiment.rankings) {
    EXPECT_THAT(page,
                HasSubstr(PercentText(ShareFound(ranking.num_found, 0.2))));
  }
  const ExplainedError& error = experiment.errors[0];
  EXPECT_THAT(page, HasSubstr(absl::StrCat("held-out digit ", error.test)));
  // A harmful image: without it the loss falls by S / N.
  const double change =
      experiment.influence.scores[error.test][error.harmful.front()]
          .item<double>() /
      300;
  EXPECT_LT(change, 0);
  EXPECT_THAT(page, HasSubstr(absl::StrCat("<span class=\"change\">",
                                           SignedText(change), "</span>")));
  EXPECT_THAT(page, HasSubstr("<code>hidden.weight</code> linear"));
}

TEST(RenderReportTest, MarksEachSuspectAsFlippedOrNot) {
  const DigitsExperiment& experiment = Experiment();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string page,
                                 RenderReport(experiment, Context()));
  const int64_t first = experiment.rankings[0].order.front();
  const std::string card = absl::StrCat(
      "labelled <b>", experiment.digits.train.y[first].item<int64_t>(), "</b>");
  const size_t at = page.find("Training image " + std::to_string(first) + ",");
  ASSERT_NE(at, std::string::npos);
  const std::string rest = page.substr(at, page.find("</li>", at) - at);
  EXPECT_THAT(rest, HasSubstr(card));
  EXPECT_THAT(
      rest,
      HasSubstr(experiment.digits.flipped[first]
                    ? absl::StrCat(
                          "flipped: truly a\u00a0",
                          experiment.digits.true_labels[first].item<int64_t>())
                    : "label is right"));
}

TEST(RenderReportTest, EscapesWhatItIsTold) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string page,
                                 RenderReport(Experiment(), Context()));
  EXPECT_THAT(page, AllOf(HasSubstr("--model my &lt;folder&gt;/model.pt"),
                          HasSubstr("LibTorch &amp; co")));
}

TEST(RenderReportTest, DoesWithoutErrorsAndWithoutFlippedLabels) {
  DigitsExperiment experiment = Experiment();
  experiment.errors.clear();
  experiment.checks.clear();
  experiment.digits.flipped.assign(300, false);
  experiment.digits.num_flipped = 0;
  for (DigitsRanking& ranking : experiment.rankings) {
    ranking.num_found.assign(301, 0);
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string page,
                                 RenderReport(experiment, Context()));
  INFLUENCE_EXPECT_OK(CheckHtml(page));
}

TEST(WriteReportFolderTest, WritesEverythingThatReproducesTheScores) {
  const DigitsExperiment& experiment = Experiment();
  const std::string folder = absl::StrCat(::testing::TempDir(), "/a/report");
  INFLUENCE_ASSERT_OK(WriteReportFolder(experiment, Context(), folder));
  // Again, over what is there.
  INFLUENCE_ASSERT_OK(WriteReportFolder(experiment, Context(), folder));

  EXPECT_TRUE(at::equal(ReadArray(folder + "/scores.npy"),
                        experiment.influence.scores));
  EXPECT_TRUE(at::equal(ReadArray(folder + "/self_influence.npy"),
                        experiment.influence.self_influence));
  EXPECT_TRUE(at::equal(ReadArray(folder + "/true_labels.npy"),
                        experiment.digits.true_labels));
  EXPECT_TRUE(at::equal(ReadArray(folder + "/train/x.npy"),
                        experiment.digits.train.x[0]));
  EXPECT_TRUE(
      at::equal(ReadArray(folder + "/train/y.npy"), experiment.digits.train.y));
  EXPECT_TRUE(at::equal(ReadArray(folder + "/test/x.npy"),
                        experiment.digits.test.x[0]));
  EXPECT_TRUE(
      at::equal(ReadArray(folder + "/test/y.npy"), experiment.digits.test.y));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const Model> model,
                                 LoadScriptModel(folder + "/model.pt"));
  EXPECT_EQ(model->num_parameters(), 2410);
  std::ifstream file(folder + "/index.html");
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string expected,
                                 RenderReport(experiment, Context()));
  EXPECT_EQ(page, expected);
}

TEST(WriteReportFolderTest, LeavesNoPageWhereItFails) {
  const std::string folder = absl::StrCat(::testing::TempDir(), "/b");
  INFLUENCE_ASSERT_OK(WriteReportFolder(Experiment(), Context(), folder));
  std::filesystem::remove_all(folder + "/train");
  std::ofstream(folder + "/train") << "a file where a folder should be";
  EXPECT_THAT(
      WriteReportFolder(Experiment(), Context(), folder),
      StatusIs(absl::StatusCode::kUnavailable, HasSubstr(folder + "/train")));
  EXPECT_FALSE(std::filesystem::exists(folder + "/index.html"));
}

}  // namespace
}  // namespace influence
