// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/png_image.h"

#include <zlib.h>

#include <cstdint>
#include <string>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"

namespace influence {
namespace {

constexpr int64_t kLargestSide = 1024;

void AppendBigEndian(uint32_t value, std::string& bytes) {
  for (int shift = 24; shift >= 0; shift -= 8) {
    bytes.push_back(static_cast<char>((value >> shift) & 0xff));
  }
}

void AppendChunk(absl::string_view type, absl::string_view data,
                 std::string& bytes) {
  AppendBigEndian(static_cast<uint32_t>(data.size()), bytes);
  const std::string body = absl::StrCat(type, data);
  bytes += body;
  AppendBigEndian(static_cast<uint32_t>(
                      crc32(0, reinterpret_cast<const Bytef*>(body.data()),
                            static_cast<uInt>(body.size()))),
                  bytes);
}

}  // namespace

absl::StatusOr<std::string> EncodePng(const at::Tensor& pixels) {
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined("image", pixels));
  const bool colour = pixels.dim() == 3 && pixels.size(2) == 3;
  if (pixels.scalar_type() != at::kByte || (pixels.dim() != 2 && !colour) ||
      pixels.size(0) < 1 || pixels.size(0) > kLargestSide ||
      pixels.size(1) < 1 || pixels.size(1) > kLargestSide) {
    return absl::InvalidArgumentError(absl::StrCat(
        "image: found ", DtypeName(pixels.scalar_type()), " ",
        ShapeString(pixels),
        ", expected uint8 [height, width] or [height, width, 3], height and "
        "width from 1 to ",
        kLargestSide));
  }
  return CatchTorch("image", [&]() -> absl::StatusOr<std::string> {
    const int64_t height = pixels.size(0);
    const int64_t width = pixels.size(1);
    const int64_t row_bytes = width * (colour ? 3 : 1);
    const at::Tensor samples = pixels.contiguous();
    std::string rows;
    rows.reserve(height * (row_bytes + 1));
    for (int64_t i = 0; i < height; ++i) {
      rows.push_back('\0');  // The row is not filtered.
      rows.append(reinterpret_cast<const char*>(samples.data_ptr<uint8_t>()) +
                      i * row_bytes,
                  row_bytes);
    }
    uLongf packed_size = compressBound(rows.size());
    std::string packed(packed_size, '\0');
    if (compress2(reinterpret_cast<Bytef*>(packed.data()), &packed_size,
                  reinterpret_cast<const Bytef*>(rows.data()), rows.size(),
                  Z_BEST_COMPRESSION) != Z_OK) {
      return absl::ResourceExhaustedError("image: found no memory for zlib");
    }
    packed.resize(packed_size);

    std::string header;
    AppendBigEndian(static_cast<uint32_t>(width), header);
    AppendBigEndian(static_cast<uint32_t>(height), header);
    header += '\x08';                // Bits of a sample.
    header += colour ? '\2' : '\0';  // Kinds of colour.
    header.append(3, '\0');          // Deflate; filters; not interlaced.
    std::string bytes = "\x89PNG\r\n\x1a\n";
    AppendChunk("IHDR", header, bytes);
    AppendChunk("IDAT", packed, bytes);
    AppendChunk("IEND", "", bytes);
    return bytes;
  });
}

absl::StatusOr<std::string> PngDataUri(const at::Tensor& pixels) {
  INFLUENCE_ASSIGN_OR_RETURN(const std::string bytes, EncodePng(pixels));
  return absl::StrCat("data:image/png;base64,", absl::Base64Escape(bytes));
}

}  // namespace influence
