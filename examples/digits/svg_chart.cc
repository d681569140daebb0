// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "examples/digits/svg_chart.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "cli/html_text.h"

namespace influence {
namespace {

constexpr double kLeft = 64;  // Margins round the plot.
constexpr double kRight = 16;
constexpr double kTop = 12;
constexpr double kBottom = 52;
constexpr int kMostTicks = 60;

absl::Status ValidateAxis(absl::string_view name, const ChartAxis& axis) {
  if (!std::isfinite(axis.low) || !std::isfinite(axis.high) ||
      axis.high <= axis.low) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, " axis: found range from ", axis.low, " to ", axis.high,
        ", expected finite ends, the first below the second"));
  }
  if (!(axis.tick_step > 0) ||
      (axis.high - axis.low) / axis.tick_step > kMostTicks) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, " axis: found tick step ", axis.tick_step,
        ", expected one that gives at most ", kMostTicks, " ticks"));
  }
  return absl::OkStatus();
}

// Where a value lies along an axis, in [0, 1].
double Position(const ChartAxis& axis, double value) {
  return std::clamp((value - axis.low) / (axis.high - axis.low), 0.0, 1.0);
}

std::vector<double> Ticks(const ChartAxis& axis) {
  // The last tick counts although its quotient may be rounded down.
  constexpr double kSlack = 1e-9;
  std::vector<double> ticks;
  for (double i = std::ceil(axis.low / axis.tick_step - kSlack);
       i * axis.tick_step <= axis.high + kSlack * axis.tick_step; ++i) {
    ticks.push_back(i * axis.tick_step);
  }
  return ticks;
}

std::string TickText(const ChartAxis& axis, double value) {
  // Adding zero makes of a negative zero a positive one.
  if (axis.percent) return PercentText(value + 0.0, 0);
  // As many decimals as the step needs.
  const int decimals = std::max(
      0, static_cast<int>(std::ceil(-std::log10(axis.tick_step) - 1e-9)));
  const std::string text = SignedText(value, decimals);
  return text[0] == '+' ? text.substr(1) : text;
}

absl::string_view MarkClass(ChartMark mark) {
  switch (mark) {
    case ChartMark::kLine:
      return "line";
    case ChartMark::kDashedLine:
      return "line dashed";
    case ChartMark::kDots:
      return "dots";
  }
  return "";
}

}  // namespace

absl::StatusOr<std::string> RenderChart(const ChartOptions& options,
                                        absl::Span<const ChartSeries> series) {
  INFLUENCE_RETURN_IF_ERROR(ValidateAxis("x", options.x));
  INFLUENCE_RETURN_IF_ERROR(ValidateAxis("y", options.y));
  const double width = options.width - kLeft - kRight;
  const double height = options.height - kTop - kBottom;
  const double bottom = kTop + height;
  const auto x_of = [&](double x) {
    return kLeft + width * Position(options.x, x);
  };
  const auto y_of = [&](double y) {
    return bottom - height * Position(options.y, y);
  };

  std::string svg = absl::StrFormat(
      "<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\" "
      "aria-labelledby=\"%s-title\">\n<title id=\"%s-title\">%s</title>\n",
      options.width, options.height, options.id, options.id,
      EscapeHtml(options.description));
  for (const double tick : Ticks(options.x)) {
    absl::StrAppendFormat(
        &svg,
        "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" "
        "y2=\"%.1f\"/><text class=\"tick\" x=\"%.1f\" y=\"%.1f\" "
        "text-anchor=\"middle\">%s</text>\n",
        x_of(tick), kTop, x_of(tick), bottom, x_of(tick), bottom + 18,
        TickText(options.x, tick));
  }
  for (const double tick : Ticks(options.y)) {
    absl::StrAppendFormat(
        &svg,
        "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" "
        "y2=\"%.1f\"/><text class=\"tick\" x=\"%.1f\" y=\"%.1f\" "
        "text-anchor=\"end\">%s</text>\n",
        kLeft, y_of(tick), kLeft + width, y_of(tick), kLeft - 8, y_of(tick) + 4,
        TickText(options.y, tick));
  }
  absl::StrAppendFormat(
      &svg,
      "<path class=\"axis\" d=\"M%.1f %.1fV%.1fH%.1f\"/>\n"
      "<text class=\"axis-title\" x=\"%.1f\" y=\"%d\" "
      "text-anchor=\"middle\">%s</text>\n"
      "<text class=\"axis-title\" transform=\"translate(14 %.1f) rotate(-90)\" "
      "text-anchor=\"middle\">%s</text>\n",
      kLeft, kTop, bottom, kLeft + width, kLeft + width / 2,
      options.height - 10, EscapeHtml(options.x.title), kTop + height / 2,
      EscapeHtml(options.y.title));
  for (size_t i = 0; i < series.size(); ++i) {
    std::string path;
    for (const auto& [x, y] : series[i].points) {
      if (!std::isfinite(x) || !std::isfinite(y)) {
        return absl::InvalidArgumentError(
            absl::StrCat("series ", series[i].name, ": found point (", x, ", ",
                         y, "), expected finite numbers"));
      }
      // A dot is a line of no length with a round cap.
      const bool dot = series[i].mark == ChartMark::kDots;
      absl::StrAppendFormat(&path, "%s%.1f %.1f%s",
                            dot || path.empty() ? "M" : "L", x_of(x), y_of(y),
                            dot ? "h0" : "");
    }
    if (path.empty()) continue;
    absl::StrAppendFormat(&svg, "<path class=\"%s s%d\" d=\"%s\"/>\n",
                          MarkClass(series[i].mark), static_cast<int>(i), path);
  }
  svg += "</svg>\n";
  return svg;
}

std::string RenderLegend(absl::Span<const ChartSeries> series) {
  std::string html = "<ul class=\"legend\">\n";
  for (size_t i = 0; i < series.size(); ++i) {
    absl::StrAppendFormat(
        &html,
        "<li><svg viewBox=\"0 0 32 10\" aria-hidden=\"true\">"
        "<path class=\"%s s%d\" d=\"%s\"/></svg>%s</li>\n",
        MarkClass(series[i].mark), static_cast<int>(i),
        series[i].mark == ChartMark::kDots ? "M16 5h0" : "M1 5L31 5",
        EscapeHtml(series[i].name));
  }
  html += "</ul>\n";
  return html;
}

}  // namespace influence
