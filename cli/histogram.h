// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// How numbers that come piece by piece are distributed, and the chart of it as
// SVG that stands inside a page. Colours come from the page's style sheet
// (classes "below" and "above" zero, "axis", "tick", "grid"), so that they
// follow the reader's choice of a dark or a light page.
#ifndef INFLUENCE_CLI_HISTOGRAM_H_
#define INFLUENCE_CLI_HISTOGRAM_H_

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace influence {

// Counts over bins of equal width, of which one begins at zero. Not
// thread-safe.
class Histogram {
 public:
  // For numbers in [low, high], in about `num_bins` >= 1 bins. kInvalidArgument
  // if the range is not finite, or low > high.
  static absl::StatusOr<Histogram> Create(double low, double high,
                                          int num_bins);

  // Counts all entries of a floating tensor; those outside the range in the
  // nearest bin. Costs a copy of it in float64.
  absl::Status Add(const at::Tensor& values);

  // Bin b holds [low + b * width, low + (b + 1) * width).
  double low() const { return low_; }
  double width() const { return width_; }
  double high() const;  // Of the last bin.
  const std::vector<int64_t>& counts() const { return counts_; }

  int64_t total() const { return total_; }
  // Of what was added; 0 if nothing was.
  double smallest() const { return total_ > 0 ? smallest_ : 0; }
  double largest() const { return total_ > 0 ? largest_ : 0; }
  int64_t num_below_zero() const { return below_; }
  int64_t num_above_zero() const { return above_; }

 private:
  Histogram() = default;

  double low_ = 0;
  double width_ = 1;
  std::vector<int64_t> counts_;  // At least one.
  int64_t total_ = 0;
  double smallest_ = std::numeric_limits<double>::infinity();
  double largest_ = -std::numeric_limits<double>::infinity();
  int64_t below_ = 0;
  int64_t above_ = 0;
};

struct HistogramChart {
  std::string id;           // Unique in the page; letters, digits and hyphens.
  std::string description;  // What a reader who cannot see the chart is told.
  std::string x_title;      // Neither axis has a title or ticks if empty.
  int width = 720;          // In units of the SVG; the page scales it.
  int height = 260;
};

// An <svg> element. Bars grow with the logarithm of their counts, or a few far
// from zero could not be seen.
std::string RenderHistogram(const Histogram& histogram,
                            const HistogramChart& chart);

}  // namespace influence

#endif  // INFLUENCE_CLI_HISTOGRAM_H_
