// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/sample_view.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/adaptive_avg_pool2d.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "cli/data_reader.h"
#include "gradients/batch.h"

namespace influence {
namespace {

// Values of a label that are shown.
constexpr int64_t kMaxLabelValues = 6;

// y: of one sample.
std::string LabelText(const at::Tensor& y) {
  const at::Tensor values = y.flatten();
  const bool is_integer = !values.is_floating_point();
  std::vector<std::string> texts;
  const int64_t shown = std::min(values.numel(), kMaxLabelValues);
  texts.reserve(shown + 1);
  for (int64_t i = 0; i < shown; ++i) {
    texts.push_back(is_integer
                        ? absl::StrCat(values[i].item<int64_t>())
                        : absl::StrFormat("%.4g", values[i].item<double>()));
  }
  if (values.numel() == 1) return texts[0];
  if (shown < values.numel()) texts.emplace_back("...");
  return absl::StrCat("[", absl::StrJoin(texts, ", "), "]");
}

// x: [H, W] or [C, H, W].
at::Tensor ImageOf(const at::Tensor& x) {
  at::Tensor image = x.to(at::kDouble);
  if (image.dim() == 2) image = image.unsqueeze(0);
  const int64_t height = image.size(1);
  const int64_t width = image.size(2);
  const int64_t side = std::max(height, width);
  if (side > SampleView::kLargestSide) {
    const auto scaled = [&](int64_t extent) {
      return std::max<int64_t>(extent * SampleView::kLargestSide / side, 1);
    };
    image = at::adaptive_avg_pool2d(image, {scaled(height), scaled(width)});
  }
  return image.size(0) == 1 ? image.squeeze(0) : image.permute({1, 2, 0});
}

}  // namespace

void PixelRange::Include(const at::Tensor& image) {
  const double least = image.min().item<double>();
  const double most = image.max().item<double>();
  low = empty ? least : std::min(low, least);
  high = empty ? most : std::max(high, most);
  empty = false;
}

PixelRange PixelRange::Rounded() const {
  PixelRange range = *this;
  if (low >= 0) {
    range.low = 0;
    if (high <= 1) {
      range.high = 1;
    } else if (high > 128 && high <= 255) {
      range.high = 255;
    }
  }
  if (!(range.high > range.low)) range.high = range.low + 1;
  return range;
}

at::Tensor ToPixels(const at::Tensor& image, const PixelRange& range) {
  return image.sub(range.low)
      .mul(255 / (range.high - range.low))
      .clamp(0, 255)
      .round()
      .to(at::kByte);
}

absl::StatusOr<SampleView> SampleView::Open(const std::string& path) {
  DataReaderOptions options;
  options.batch_size = 1;
  INFLUENCE_ASSIGN_OR_RETURN(DataReader reader,
                             DataReader::Open(path, options));
  return SampleView(std::move(reader));
}

bool SampleView::has_images() const {
  if (reader_.num_inputs() != 1) return false;
  const absl::Span<const int64_t> shape = reader_.input_shape(0);
  return shape.size() == 3 ||
         (shape.size() == 4 && (shape[1] == 1 || shape[1] == 3));
}

absl::StatusOr<SampleView::Sample> SampleView::Get(int64_t index) const {
  INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, reader_.Get(index));
  return CatchTorch("sample", [&]() -> absl::StatusOr<Sample> {
    Sample sample;
    sample.label = LabelText(batch.y);
    if (has_images()) sample.image = ImageOf(batch.x[0].squeeze(0));
    return sample;
  });
}

}  // namespace influence
