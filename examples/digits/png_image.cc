// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "examples/digits/png_image.h"

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

absl::StatusOr<std::string> EncodePng(const at::Tensor& ink) {
  INFLUENCE_RETURN_IF_ERROR(ValidateFloating("image", ink));
  if (ink.dim() != 2 || ink.size(0) < 1 || ink.size(0) > kLargestSide ||
      ink.size(1) < 1 || ink.size(1) > kLargestSide) {
    return absl::InvalidArgumentError(absl::StrCat(
        "image: found shape ", ShapeString(ink),
        ", expected [height, width], each from 1 to ", kLargestSide));
  }
  return CatchTorch("image", [&]() -> absl::StatusOr<std::string> {
    const int64_t height = ink.size(0);
    const int64_t width = ink.size(1);
    const at::Tensor grey = ink.detach()
                                .to(at::kDouble)
                                .clamp(0, 1)
                                .neg()
                                .add(1)
                                .mul(255)
                                .round()
                                .to(at::kByte)
                                .contiguous();
    std::string rows;
    for (int64_t i = 0; i < height; ++i) {
      rows.push_back('\0');  // The row is not filtered.
      rows.append(
          reinterpret_cast<const char*>(grey.data_ptr<uint8_t>()) + i * width,
          width);
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
    header += '\x08';        // Bits of a sample.
    header.append(4, '\0');  // Grey; deflate; filters; not interlaced.
    std::string bytes = "\x89PNG\r\n\x1a\n";
    AppendChunk("IHDR", header, bytes);
    AppendChunk("IDAT", packed, bytes);
    AppendChunk("IEND", "", bytes);
    return bytes;
  });
}

absl::StatusOr<std::string> PngDataUri(const at::Tensor& ink) {
  INFLUENCE_ASSIGN_OR_RETURN(const std::string bytes, EncodePng(ink));
  return absl::StrCat("data:image/png;base64,", absl::Base64Escape(bytes));
}

}  // namespace influence
