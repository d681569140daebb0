// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/histogram.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "cli/html_text.h"

namespace influence {
namespace {

// Margins of a chart with axes.
constexpr double kLeft = 64;
constexpr double kRight = 32;
constexpr double kTop = 10;
constexpr double kBottom = 50;

// 1, 2 or 5 times a power of ten, not below `least`.
double RoundStep(double least) {
  const double power = std::pow(10, std::floor(std::log10(least)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= least * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

std::string TickText(double value) {
  return absl::StrReplaceAll(absl::StrFormat("%.5g", value), {{"-", "\u2212"}});
}

// A power of ten of counts: "1,000", or "1e+07" where that would be too wide.
std::string CountTick(double count) {
  return count < 1e6 ? CountText(static_cast<int64_t>(count))
                     : absl::StrFormat("%.0e", count);
}

}  // namespace

absl::StatusOr<Histogram> Histogram::Create(double low, double high,
                                            int num_bins) {
  INFLUENCE_CHECK(num_bins >= 1);
  if (!std::isfinite(low) || !std::isfinite(high) || low > high ||
      !std::isfinite(high - low)) {
    return absl::InvalidArgumentError(
        absl::StrCat("histogram: found range from ", low, " to ", high,
                     ", expected finite ends, the first not above the second"));
  }
  Histogram histogram;
  // Numbers that are all the same, and differences too small to divide by.
  const double size = std::max(std::abs(low), std::abs(high));
  const double range = std::max(high - low, 1e-12 * size);
  histogram.width_ = range > 0 ? range / num_bins : 1;
  if (!(histogram.width_ > 1e-300)) histogram.width_ = 1;
  const double first = std::floor(low / histogram.width_);
  const double last = std::floor(high / histogram.width_);
  histogram.low_ = first * histogram.width_;
  histogram.counts_.assign(static_cast<size_t>(last - first) + 1, 0);
  return histogram;
}

double Histogram::high() const {
  return low_ + width_ * static_cast<double>(counts_.size());
}

absl::Status Histogram::Add(const at::Tensor& values) {
  INFLUENCE_RETURN_IF_ERROR(ValidateFloating("histogram", values));
  return CatchTorch("histogram", [&] {
    const at::Tensor numbers = values.detach().to(at::kDouble).contiguous();
    const double* const data = numbers.data_ptr<double>();
    const auto last = static_cast<double>(counts_.size() - 1);
    const double first = std::round(low_ / width_);
    for (int64_t i = 0; i < numbers.numel(); ++i) {
      // Relative to zero, so that rounding moves nothing across it.
      const double bin = std::floor(data[i] / width_) - first;
      // A NaN compares false and counts in the first bin.
      ++counts_[bin > 0 ? static_cast<size_t>(std::min(bin, last)) : 0];
      smallest_ = std::min(smallest_, data[i]);
      largest_ = std::max(largest_, data[i]);
      below_ += data[i] < 0 ? 1 : 0;
      above_ += data[i] > 0 ? 1 : 0;
    }
    total_ += numbers.numel();
    return absl::OkStatus();
  });
}

std::string RenderHistogram(const Histogram& histogram,
                            const HistogramChart& chart) {
  const bool has_axes = !chart.x_title.empty();
  const double left = has_axes ? kLeft : 0;
  const double top = has_axes ? kTop : 0;
  const double width = chart.width - left - (has_axes ? kRight : 0);
  const double bottom = chart.height - (has_axes ? kBottom : 1);
  const double height = bottom - top;
  const std::vector<int64_t>& counts = histogram.counts();
  const auto largest = static_cast<double>(
      std::max<int64_t>(*std::max_element(counts.begin(), counts.end()), 1));
  const auto x_of = [&](double value) {
    const double share =
        (value - histogram.low()) / (histogram.high() - histogram.low());
    return left + width * std::clamp(share, 0.0, 1.0);
  };
  const auto y_of = [&](double count) {
    return bottom - height * std::log1p(count) / std::log1p(largest);
  };

  std::string svg = absl::StrFormat(
      "<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\" "
      "aria-labelledby=\"%s-title\">\n<title id=\"%s-title\">%s</title>\n",
      chart.width, chart.height, chart.id, chart.id,
      EscapeHtml(chart.description));
  if (has_axes) {
    for (double count = 1; count <= largest; count *= 10) {
      absl::StrAppendFormat(
          &svg,
          "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" "
          "y2=\"%.1f\"/><text class=\"tick\" x=\"%.1f\" y=\"%.1f\" "
          "text-anchor=\"end\">%s</text>\n",
          left, y_of(count), left + width, y_of(count), left - 8,
          y_of(count) + 4, CountTick(count));
    }
    const double step = RoundStep((histogram.high() - histogram.low()) / 6);
    for (double i = std::ceil(histogram.low() / step);
         i * step <= histogram.high(); ++i) {
      absl::StrAppendFormat(
          &svg,
          "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" "
          "text-anchor=\"middle\">%s</text>\n",
          x_of(i * step), bottom + 18,
          // Adding zero makes of a negative zero a positive one.
          TickText(i * step + 0.0));
    }
  }
  // A path of bars for each side of zero.
  for (const bool above : {false, true}) {
    std::string path;
    for (size_t b = 0; b < counts.size(); ++b) {
      const double begin =
          histogram.low() + histogram.width() * static_cast<double>(b);
      const bool is_above = begin > -0.5 * histogram.width();
      if (counts[b] == 0 || is_above != above) continue;
      absl::StrAppendFormat(&path, "M%.2f %.1fV%.1fH%.2fV%.1fZ", x_of(begin),
                            bottom, y_of(static_cast<double>(counts[b])),
                            x_of(begin + histogram.width()), bottom);
    }
    if (path.empty()) continue;
    absl::StrAppendFormat(&svg, "<path class=\"%s\" d=\"%s\"/>\n",
                          above ? "above" : "below", path);
  }
  absl::StrAppendFormat(&svg, "<path class=\"axis\" d=\"M%.1f %.1fH%.1f\"/>\n",
                        left, bottom, left + width);
  if (histogram.low() <= 0 && histogram.high() >= 0) {
    absl::StrAppendFormat(&svg,
                          "<path class=\"axis zero\" d=\"M%.1f %.1fV%.1f\"/>\n",
                          x_of(0), top, bottom);
  }
  if (has_axes) {
    absl::StrAppendFormat(
        &svg,
        "<text class=\"axis-title\" x=\"%.1f\" y=\"%d\" "
        "text-anchor=\"middle\">%s</text>\n"
        "<text class=\"axis-title side\" transform=\"translate(14 %.1f) "
        "rotate(-90)\" text-anchor=\"middle\">scores</text>\n",
        left + width / 2, chart.height - 10, EscapeHtml(chart.x_title),
        top + height / 2);
  }
  svg += "</svg>\n";
  return svg;
}

}  // namespace influence
