// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/histogram.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/full.h"
#include "ATen/ops/linspace.h"
#include "ATen/ops/tensor.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "cli/html_checker.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(HistogramTest, CountsInBinsOfWhichOneBeginsAtZero) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(Histogram histogram,
                                 Histogram::Create(-1, 3, 4));
  EXPECT_EQ(histogram.low(), -1);
  EXPECT_EQ(histogram.width(), 1);
  EXPECT_EQ(histogram.high(), 4);  // Of the bin that 3 lies in.
  INFLUENCE_ASSERT_OK(histogram.Add(
      at::tensor({-1.0, -0.25, -1e-300, 0.0, 0.5, 1.0, 2.5, 3.0})));
  INFLUENCE_ASSERT_OK(histogram.Add(at::tensor({-9.0f, 9.0f}).reshape({1, 2})));
  EXPECT_THAT(histogram.counts(), ElementsAre(4, 2, 1, 1, 2));
  EXPECT_EQ(histogram.total(), 10);
  EXPECT_EQ(histogram.smallest(), -9);
  EXPECT_EQ(histogram.largest(), 9);
  EXPECT_EQ(histogram.num_below_zero(), 4);
  EXPECT_EQ(histogram.num_above_zero(), 5);
}

TEST(HistogramTest, EveryNumberOfTheRangeFindsItsBin) {
  for (const auto& [low, high] : std::vector<std::pair<double, double>>{
           {-0.3, 0.7}, {1e-9, 3e-9}, {-5e7, -4.99e7}, {0, 1e-300}}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(Histogram histogram,
                                   Histogram::Create(low, high, 10));
    // The ends of bins are multiples of the width, rounded.
    EXPECT_LE(histogram.low(), low + 1e-9 * histogram.width());
    EXPECT_GE(histogram.high(), high - 1e-9 * histogram.width());
    EXPECT_LE(histogram.counts().size(), 12u);
    const at::Tensor values =
        at::linspace(low, high, 101, at::TensorOptions(at::kDouble));
    INFLUENCE_ASSERT_OK(histogram.Add(values));
    std::vector<int64_t> expected(histogram.counts().size(), 0);
    for (int64_t i = 0; i < values.numel(); ++i) {
      const double value = values[i].item<double>();
      size_t bin = 0;
      // Bins are counted from zero on.
      while (bin + 1 < expected.size() &&
             value >= histogram.width() *
                          (std::round(histogram.low() / histogram.width()) +
                           static_cast<double>(bin + 1))) {
        ++bin;
      }
      ++expected[bin];
    }
    EXPECT_EQ(std::accumulate(histogram.counts().begin(),
                              histogram.counts().end(), int64_t{0}),
              101);
    // Numbers on an edge may fall on either side of it.
    for (size_t b = 0; b < expected.size(); ++b) {
      EXPECT_NEAR(histogram.counts()[b], expected[b], 1) << low << " bin " << b;
    }
  }
}

TEST(HistogramTest, TakesNumbersThatAreAllTheSame) {
  for (const double value : {0.0, 3.0, -1e-200, 1e300}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(Histogram histogram,
                                   Histogram::Create(value, value, 10));
    INFLUENCE_ASSERT_OK(
        histogram.Add(at::full({7}, value, at::TensorOptions(at::kDouble))));
    EXPECT_EQ(histogram.total(), 7);
    EXPECT_THAT(
        RenderHistogram(histogram,
                        {.id = "h", .description = "all", .x_title = "score"}),
        AllOf(HasSubstr("<path"), Not(HasSubstr("nan")), Not(HasSubstr("inf"))))
        << value;
  }
}

TEST(HistogramTest, RefusesWhatIsNoRange) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  for (const auto& [low, high] : std::vector<std::pair<double, double>>{
           {2, 1}, {0, kInfinity}, {kNan, 1}, {-1.7e308, 1.7e308}}) {
    EXPECT_THAT(Histogram::Create(low, high, 10),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("found range from")));
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(Histogram histogram,
                                 Histogram::Create(0, 1, 10));
  EXPECT_THAT(histogram.Add(at::tensor({int64_t{1}})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("int64")));
}

TEST(RenderHistogramTest, IsWellFormedAndSaysWhatItShows) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(Histogram histogram,
                                 Histogram::Create(-2, 3, 5));
  INFLUENCE_ASSERT_OK(histogram.Add(at::tensor({-1.5, 0.5, 0.6, 2.5})));
  const std::string svg = RenderHistogram(
      histogram,
      {.id = "h", .description = "four <scores>", .x_title = "a & b"});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const HtmlSummary summary,
      CheckHtml(absl::StrCat("<!DOCTYPE html>\n<html>", svg, "</html>")));
  EXPECT_EQ(summary.elements.at("svg"), 1);
  EXPECT_THAT(svg,
              AllOf(HasSubstr("role=\"img\""), HasSubstr("four &lt;scores&gt;"),
                    HasSubstr("a &amp; b"), HasSubstr("class=\"below\""),
                    HasSubstr("class=\"above\""), HasSubstr(">\u22122<")));
  // One bar below zero; two above, the empty bin between them left out.
  const auto bars = [&](const std::string& style) {
    const size_t at = svg.find("class=\"" + style + "\" d=\"");
    const std::string path = svg.substr(at, svg.find("/>", at) - at);
    return std::count(path.begin(), path.end(), 'Z');
  };
  EXPECT_EQ(bars("below"), 1);
  EXPECT_EQ(bars("above"), 2);
}

TEST(RenderHistogramTest, WithoutATitleThereAreNoAxes) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(Histogram histogram,
                                 Histogram::Create(1, 3, 5));
  INFLUENCE_ASSERT_OK(histogram.Add(at::tensor({1.5, 2.5})));
  EXPECT_THAT(RenderHistogram(histogram, {.id = "h",
                                          .description = "d",
                                          .x_title = "",
                                          .width = 100,
                                          .height = 40}),
              AllOf(HasSubstr("viewBox=\"0 0 100 40\""),
                    Not(HasSubstr("class=\"tick\"")),
                    Not(HasSubstr("class=\"below\""))));
}

}  // namespace
}  // namespace influence
