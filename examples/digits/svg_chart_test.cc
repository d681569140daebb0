// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "examples/digits/svg_chart.h"

#include <limits>
#include <string>
#include <vector>

#include "cli/html_checker.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Plot from (64, 12) to (164, 112): margins 64, 16, 12, 52.
ChartOptions SquareChart() {
  return {.id = "square",
          .description = "A & B",
          .x = {.title = "x < 1", .tick_step = 0.5},
          .y = {.title = "y", .low = -10, .high = 10, .tick_step = 10},
          .width = 180,
          .height = 164};
}

TEST(RenderChartTest, PutsPointsWhereTheyBelong) {
  const std::vector<ChartSeries> series = {
      {"line", ChartMark::kLine, {{0, -10}, {0.5, 0}, {1, 10}}},
      {"dots", ChartMark::kDots, {{0.25, 5}, {0.75, 20}}}};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string svg,
                                 RenderChart(SquareChart(), series));
  EXPECT_THAT(svg, HasSubstr("<path class=\"line s0\" "
                             "d=\"M64.0 112.0L114.0 62.0L164.0 12.0\"/>"));
  // The second dot lies above the range and stays on the border.
  EXPECT_THAT(svg, HasSubstr("<path class=\"dots s1\" "
                             "d=\"M89.0 37.0h0M139.0 12.0h0\"/>"));
  INFLUENCE_EXPECT_OK(CheckHtml(svg));
}

TEST(RenderChartTest, LabelsItsTicks) {
  ChartOptions options = SquareChart();
  options.x.percent = true;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string svg,
                                 RenderChart(options, {}));
  EXPECT_THAT(svg, AllOf(HasSubstr(">0\u00a0%<"), HasSubstr(">50\u00a0%<"),
                         HasSubstr(">100\u00a0%<")));
  EXPECT_THAT(svg, AllOf(HasSubstr(">\u221210<"), HasSubstr(">0<"),
                         HasSubstr(">10<"), Not(HasSubstr(">20<"))));
}

TEST(RenderChartTest, KeepsTheLastTickInSpiteOfRounding) {
  ChartOptions options = SquareChart();
  options.x = {.title = "x", .low = 0, .high = 0.3, .tick_step = 0.1};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string svg,
                                 RenderChart(options, {}));
  EXPECT_THAT(svg, AllOf(HasSubstr(">0.0<"), HasSubstr(">0.1<"),
                         HasSubstr(">0.2<"), HasSubstr(">0.3<")));
}

TEST(RenderChartTest, EscapesText) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string svg,
                                 RenderChart(SquareChart(), {}));
  EXPECT_THAT(svg, HasSubstr("x &lt; 1"));
  EXPECT_THAT(svg, HasSubstr("A &amp; B"));
}

TEST(RenderChartTest, NamesWhatCannotBeDrawn) {
  ChartOptions options = SquareChart();
  options.x.high = 0;
  EXPECT_THAT(
      RenderChart(options, {}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("x axis")));
  options = SquareChart();
  options.y.tick_step = 0.01;
  EXPECT_THAT(
      RenderChart(options, {}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("y axis")));
  const std::vector<ChartSeries> series = {
      {"bad",
       ChartMark::kLine,
       {{0, std::numeric_limits<double>::infinity()}}}};
  EXPECT_THAT(
      RenderChart(SquareChart(), series),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("series bad")));
}

TEST(RenderLegendTest, NamesEachSeries) {
  const std::vector<ChartSeries> series = {
      {"a & b", ChartMark::kDashedLine, {}}, {"c", ChartMark::kDots, {}}};
  const std::string html = RenderLegend(series);
  EXPECT_THAT(html, AllOf(HasSubstr("line dashed s0"), HasSubstr("a &amp; b"),
                          HasSubstr("dots s1")));
  INFLUENCE_EXPECT_OK(CheckHtml(html));
}

}  // namespace
}  // namespace influence
