// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Decodes the files again by the standard's own rules, checksums included.
#include "examples/digits/png_image.h"

#include <zlib.h>

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

uint32_t BigEndian(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) {
    value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  }
  return value;
}

struct Chunk {
  std::string type;
  std::string data;
};

// The chunks after the signature; fails the test on a wrong checksum.
std::vector<Chunk> Chunks(const std::string& png) {
  std::vector<Chunk> chunks;
  EXPECT_THAT(png, StartsWith("\x89PNG\r\n\x1a\n"));
  size_t at = 8;
  while (at + 12 <= png.size()) {
    const uint32_t size = BigEndian(png, at);
    if (at + 12 + size > png.size()) break;
    chunks.push_back({png.substr(at + 4, 4), png.substr(at + 8, size)});
    const uLong crc =
        crc32(0, reinterpret_cast<const Bytef*>(png.data() + at + 4),
              static_cast<uInt>(size + 4));
    EXPECT_EQ(BigEndian(png, at + 8 + size), crc) << chunks.back().type;
    at += 12 + size;
  }
  EXPECT_EQ(at, png.size());
  return chunks;
}

TEST(EncodePngTest, DecodesToTheSamePixels) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::string png,
      EncodePng(at::tensor({0.0, 1.0, 0.5, -3.0, 7.0, 0.25}).reshape({2, 3})));
  const std::vector<Chunk> chunks = Chunks(png);
  ASSERT_EQ(chunks.size(), 3u);
  EXPECT_EQ(chunks[0].type, "IHDR");
  EXPECT_EQ(chunks[1].type, "IDAT");
  EXPECT_EQ(chunks[2].type, "IEND");
  ASSERT_EQ(chunks[0].data.size(), 13u);
  EXPECT_EQ(BigEndian(chunks[0].data, 0), 3u);  // Width.
  EXPECT_EQ(BigEndian(chunks[0].data, 4), 2u);  // Height.
  EXPECT_EQ(chunks[0].data.substr(8), std::string("\x08\0\0\0\0", 5));
  EXPECT_EQ(chunks[2].data, "");

  std::vector<uint8_t> rows(8);
  uLongf size = rows.size();
  ASSERT_EQ(uncompress(rows.data(), &size,
                       reinterpret_cast<const Bytef*>(chunks[1].data.data()),
                       chunks[1].data.size()),
            Z_OK);
  ASSERT_EQ(size, rows.size());
  // Ink 0.5 is 127.5 of 255 and rounds to even.
  EXPECT_THAT(rows, ElementsAre(0, 255, 0, 128, 0, 255, 0, 191));
}

TEST(EncodePngTest, RefusesWhatIsNoImage) {
  EXPECT_THAT(EncodePng(at::zeros({4})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[4]")));
  EXPECT_THAT(
      EncodePng(at::zeros({0, 4})),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[0, 4]")));
  EXPECT_THAT(EncodePng(at::zeros({2, 2}, at::kLong)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("int64")));
}

TEST(PngDataUriTest, HoldsTheFile) {
  const at::Tensor ink = at::zeros({8, 8});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string png, EncodePng(ink));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string uri, PngDataUri(ink));
  EXPECT_EQ(uri,
            absl::StrCat("data:image/png;base64,", absl::Base64Escape(png)));
}

}  // namespace
}  // namespace influence
