// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Charts with two axes as SVG that stands inside a page: lines or dots. Colours
// come from the page's style sheet, class "s<i>" for series i, so that they
// follow the reader's choice of a dark or a light page.
#ifndef INFLUENCE_EXAMPLES_DIGITS_SVG_CHART_H_
#define INFLUENCE_EXAMPLES_DIGITS_SVG_CHART_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace influence {

enum class ChartMark { kLine, kDashedLine, kDots };

struct ChartSeries {
  std::string name;
  ChartMark mark = ChartMark::kLine;
  std::vector<std::pair<double, double>> points;  // (x, y), in drawing order.
};

struct ChartAxis {
  std::string title;
  double low = 0;
  double high = 1;         // > low
  double tick_step = 0.2;  // > 0; a labelled tick at each multiple of it.
  bool percent = false;    // Labels 20 % in place of 0.2.
};

struct ChartOptions {
  std::string id;           // Unique in the page; letters, digits and hyphens.
  std::string description;  // What a reader who cannot see the chart is told.
  ChartAxis x;
  ChartAxis y;
  int width = 720;  // In units of the SVG; the page scales it.
  int height = 420;
};

// An <svg> element. Points beyond an axis's range are drawn on its border.
// kInvalidArgument on a bad axis, more than 60 ticks, or a point that is not
// finite.
absl::StatusOr<std::string> RenderChart(const ChartOptions& options,
                                        absl::Span<const ChartSeries> series);

// A <ul> with a sample of each series and its name.
std::string RenderLegend(absl::Span<const ChartSeries> series);

}  // namespace influence

#endif  // INFLUENCE_EXAMPLES_DIGITS_SVG_CHART_H_
