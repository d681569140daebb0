// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Images as PNG files in memory, and as the data URIs that carry them inside a
// page.
#ifndef INFLUENCE_CLI_PNG_IMAGE_H_
#define INFLUENCE_CLI_PNG_IMAGE_H_

#include <string>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"

namespace influence {

// pixels: uint8, [height, width] of grey or [height, width, 3] of red, green
// and blue, height and width from 1 to 1,024. The bytes of a PNG file of 8 bits
// a sample (ISO/IEC 15948:2004). kInvalidArgument on another shape or dtype.
absl::StatusOr<std::string> EncodePng(const at::Tensor& pixels);

// "data:image/png;base64,..." of the same.
absl::StatusOr<std::string> PngDataUri(const at::Tensor& pixels);

}  // namespace influence

#endif  // INFLUENCE_CLI_PNG_IMAGE_H_
