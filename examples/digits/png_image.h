// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Small grey images as PNG files in memory, and as the data URIs that carry
// them inside a page.
#ifndef INFLUENCE_EXAMPLES_DIGITS_PNG_IMAGE_H_
#define INFLUENCE_EXAMPLES_DIGITS_PNG_IMAGE_H_

#include <string>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"

namespace influence {

// ink: floating [height, width], each from 1 to 1,024, clamped to [0, 1]; 0
// becomes white and 1 black. The bytes of a PNG file of 8 bits a pixel (ISO/IEC
// 15948:2004). kInvalidArgument on another shape or dtype.
absl::StatusOr<std::string> EncodePng(const at::Tensor& ink);

// "data:image/png;base64,..." of the same.
absl::StatusOr<std::string> PngDataUri(const at::Tensor& ink);

}  // namespace influence

#endif  // INFLUENCE_EXAMPLES_DIGITS_PNG_IMAGE_H_
