// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Single samples of a data set as people look at them: label and image.
#ifndef INFLUENCE_CLI_SAMPLE_VIEW_H_
#define INFLUENCE_CLI_SAMPLE_VIEW_H_

#include <cstdint>
#include <string>
#include <utility>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "cli/data_reader.h"

namespace influence {

// What the darkest and the lightest pixel stand for, of all images that are
// shown side by side. Empty until Include().
struct PixelRange {
  double low = 0;
  double high = 0;
  bool empty = true;

  void Include(const at::Tensor& image);

  // The range to show: from 0 if no value is below, to 1 or 255 if the values
  // are those of images so scaled, else the range itself.
  PixelRange Rounded() const;
};

// uint8 of a floating image: 0 at low, 255 at high.
at::Tensor ToPixels(const at::Tensor& image, const PixelRange& range);

// Immutable and thread-safe.
class SampleView {
 public:
  // Errors of DataReader::Open(), which reads the data once.
  static absl::StatusOr<SampleView> Open(const std::string& path);

  int64_t num_samples() const { return reader_.num_samples(); }

  // There is one input, and it is [N, H, W], or [N, C, H, W] with C 1 or 3.
  bool has_images() const;

  struct Sample {
    // "3", "0.25", "[1, 0, 2]"; long ones are cut.
    std::string label;

    // Floating [h, w] or [h, w, 3], undefined without has_images(); a larger
    // one is averaged down to kLargestSide.
    at::Tensor image;
  };
  static constexpr int64_t kLargestSide = 160;

  // Sample `index`, 0 <= index < num_samples().
  absl::StatusOr<Sample> Get(int64_t index) const;

 private:
  explicit SampleView(DataReader reader) : reader_(std::move(reader)) {}

  DataReader reader_;  // In batches of one.
};

}  // namespace influence

#endif  // INFLUENCE_CLI_SAMPLE_VIEW_H_
