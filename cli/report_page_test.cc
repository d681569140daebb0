// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/report_page.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "cli/histogram.h"
#include "cli/html_checker.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

using Json = nlohmann::ordered_json;

Json Attributes() {
  return {{"method", "ekfac"},
          {"options", {{"regularization", "auto"}, {"fisher", "empirical"}}},
          {"regularization", {{"fc1", 0.5}, {"fc2", 0.25}}},
          {"loss", "cross_entropy"},
          {"query_function", "loss"},
          {"units", "raw"},
          {"sign_meaning", "positive: it helps"},
          {"num_parameters", 2410},
          {"num_fitted_samples", 1500},
          {"covered_share", 0.995},
          {"seconds", 32.5},
          {"peak_memory_bytes", 1536.0 * 1024 * 1024},
          {"solves", {{"fc1", {{"outcomes", {"converged", "diverged"}}}}}},
          {"fitted_blocks",
           {{{"name", "fc1"},
             {"smallest_eigenvalue", -0.5},
             {"remarks", {"rank cut"}}}}},
          {"fingerprints", {{"train", "0123456789abcdef"}}},
          {"versions", {{"influence", "1.2"}}}};
}

Histogram SomeHistogram() {
  Histogram histogram = Histogram::Create(-1, 2, 6).value();
  INFLUENCE_EXPECT_OK(histogram.Add(at::tensor({-1.0, 0.5, 1.0, 2.0})));
  return histogram;
}

PageScore Score(int64_t index, double score, bool image) {
  PageScore entry;
  entry.train.index = index;
  entry.train.label = absl::StrCat("cat <", index, ">");
  if (image) entry.train.pixels = at::zeros({4, 5}, at::kByte);
  entry.score = score;
  return entry;
}

ReportPage Page(int num_queries, bool images) {
  ReportPage page;
  page.scores = "a&b.zarr";
  page.train = "<train>.npz";
  page.test = "\"test\".npz";
  page.num_queries = 7;
  page.num_train = 1500;
  page.largest_k = 1500;
  page.units = "raw";
  page.sign_meaning = "positive: it <helps>";
  if (images) page.pixels = "black is 0, white is 1";
  page.distribution = SomeHistogram();
  page.attributes = Attributes();
  for (int i = 0; i < num_queries; ++i) {
    PageQuery query;
    query.query.index = i;
    query.query.label = "dog";
    if (images) query.query.pixels = at::zeros({4, 5, 3}, at::kByte);
    query.helpful = {Score(3, 2.5, images), Score(4, -0.125, images)};
    query.harmful = {Score(9, -1, images), Score(8, 0, images)};
    query.distribution = SomeHistogram();
    page.queries.push_back(std::move(query));
  }
  return page;
}

TEST(ReportPageTest, IsWellFormedAndLoadsNothing) {
  for (const bool images : {true, false}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string html,
                                   RenderReportPage(Page(3, images)));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const HtmlSummary summary, CheckHtml(html));
    EXPECT_EQ(summary.num_images, images ? 3 * 5 : 0);
    EXPECT_EQ(summary.elements.at("h1"), 1);
    EXPECT_EQ(summary.elements.at("h3"), 3);
    EXPECT_EQ(summary.elements.at("h4"), 6);
    EXPECT_EQ(summary.elements.at("svg"), 4);
    EXPECT_EQ(summary.elements.at("li"), 3 * 4 + 3);
    EXPECT_THAT(html, Not(HasSubstr("://")));
  }
}

TEST(ReportPageTest, EscapesWhatComesFromFiles) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string html,
                                 RenderReportPage(Page(1, true)));
  EXPECT_THAT(
      html,
      AllOf(HasSubstr("a&amp;b.zarr"), HasSubstr("&lt;train&gt;.npz"),
            HasSubstr("&quot;test&quot;.npz"), HasSubstr("it &lt;helps&gt;"),
            HasSubstr("cat &lt;3&gt;"), Not(HasSubstr("cat <")),
            Not(HasSubstr("<train>")), Not(HasSubstr("it <helps>"))));
}

TEST(ReportPageTest, SaysHowManyAreShownAndWhatTheyAre) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string html,
                                 RenderReportPage(Page(3, true)));
  EXPECT_THAT(
      html,
      AllOf(HasSubstr("the first 3 of 7 queries"),
            HasSubstr("the 2 most helpful and the 2 most harmful"),
            HasSubstr("black is 0, white is 1"),
            HasSubstr("alt=\"Training sample 3, label cat &lt;3&gt;\""),
            HasSubstr("alt=\"Query 2, label dog\""),
            HasSubstr("href=\"#query-2\""), HasSubstr("id=\"query-2\""),
            HasSubstr("4 scores"), HasSubstr("75.0\u00a0% help"),
            HasSubstr("25.0\u00a0% harm"), HasSubstr("indefinite in 1 of 1")));
  ReportPage all = Page(7, false);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string whole,
                                 RenderReportPage(all));
  EXPECT_THAT(whole,
              AllOf(HasSubstr("all 7 queries"), Not(HasSubstr("black is"))));
  all.keeps_all = false;
  all.largest_k = 5;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string kept, RenderReportPage(all));
  EXPECT_THAT(kept, HasSubstr("the 5 most helpful and harmful scores, which is "
                              "what the store keeps"));
}

TEST(ReportPageTest, ColoursFollowTheSignAndNotTheList) {
  ReportPage page = Page(1, false);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string html,
                                 RenderReportPage(page));
  // The second of the helpful ones harms all the same.
  EXPECT_THAT(html, AllOf(HasSubstr("<body class=\"positive\">"),
                          HasSubstr("<span class=\"score helps\">+2.5<"),
                          HasSubstr("<span class=\"score harms\">\u22120.125<"),
                          HasSubstr("<span class=\"score soft\">0<")));
  page.positive_helps = false;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string negative,
                                 RenderReportPage(page));
  EXPECT_THAT(negative, AllOf(HasSubstr("<body class=\"negative\">"),
                              HasSubstr("<span class=\"score harms\">+2.5<"),
                              HasSubstr("25.0\u00a0% help, 75.0\u00a0% harm")));
}

TEST(ReportPageTest, AnImageThatIsNoneIsAnError) {
  ReportPage page = Page(1, false);
  page.queries[0].query.pixels = at::zeros({2, 2, 2}, at::kByte);
  EXPECT_THAT(RenderReportPage(page),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("image")));
}

TEST(RunFactsTest, TellWhatWasRun) {
  std::string text;
  for (const auto& [name, value] : RunFacts(Attributes())) {
    absl::StrAppend(&text, name, ": ", value, "\n");
  }
  EXPECT_THAT(
      text, AllOf(HasSubstr("Method: ekfac\n"),
                  HasSubstr("Options of the method: fisher empirical\n"),
                  HasSubstr("Regularization: fc1 0.5, fc2 0.25 (chosen "
                            "automatically)\n"),
                  HasSubstr("Coverage: 99.5\u00a0% of the parameters"),
                  HasSubstr("Solves: 1 converged, 1 diverged\n"),
                  HasSubstr("Remarks: fc1: rank cut\n"),
                  HasSubstr("Parameters P: 2,410\n"), HasSubstr("Units: raw\n"),
                  HasSubstr("Peak memory: 1.5 GiB\n")));
  EXPECT_THAT(text,
              AllOf(HasSubstr("Time: 32"), HasSubstr("train 0123456789ab\n"),
                    HasSubstr("Versions: influence 1.2\n")));
}

TEST(RunFactsTest, WhatIsMissingOrOfAnotherTypeIsLeftOut) {
  EXPECT_TRUE(RunFacts(Json::object()).empty());
  EXPECT_TRUE(RunFacts(Json()).empty());
  Json attributes = Attributes();
  for (auto& [name, value] : attributes.items()) value = Json::array({1, "a"});
  EXPECT_TRUE(RunFacts(attributes).empty());
  for (auto& [name, value] : attributes.items()) value = Json{{"a", nullptr}};
  for (const auto& [name, value] : RunFacts(attributes)) {
    EXPECT_THAT(name, ::testing::AnyOf("Options of the method",
                                       "Fingerprints (SHA-256)"));
  }
}

}  // namespace
}  // namespace influence
