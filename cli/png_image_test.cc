// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Decodes the files again by the standard's own rules, checksums included.
#include "cli/png_image.h"

#include <zlib.h>

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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

// The rows of an image, each after its filter byte.
std::vector<uint8_t> Rows(const Chunk& data, size_t expected_size) {
  std::vector<uint8_t> rows(expected_size);
  uLongf size = rows.size();
  EXPECT_EQ(uncompress(rows.data(), &size,
                       reinterpret_cast<const Bytef*>(data.data.data()),
                       data.data.size()),
            Z_OK);
  EXPECT_EQ(size, rows.size());
  return rows;
}

TEST(EncodePngTest, DecodesToTheSamePixels) {
  // The view of a larger image: not contiguous.
  const at::Tensor pixels = at::tensor({0, 1, 128, 9, 255, 7, 254, 9})
                                .to(at::kByte)
                                .reshape({2, 4})
                                .narrow(1, 0, 3);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string png, EncodePng(pixels));
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
  EXPECT_THAT(Rows(chunks[1], 8), ElementsAre(0, 0, 1, 128, 0, 255, 7, 254));
}

TEST(EncodePngTest, KeepsColours) {
  const at::Tensor pixels =
      at::tensor({1, 2, 3, 4, 5, 6}).to(at::kByte).reshape({1, 2, 3});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string png, EncodePng(pixels));
  const std::vector<Chunk> chunks = Chunks(png);
  ASSERT_EQ(chunks.size(), 3u);
  ASSERT_EQ(chunks[0].data.size(), 13u);
  EXPECT_EQ(BigEndian(chunks[0].data, 0), 2u);
  EXPECT_EQ(BigEndian(chunks[0].data, 4), 1u);
  EXPECT_EQ(chunks[0].data.substr(8), std::string("\x08\2\0\0\0", 5));
  EXPECT_THAT(Rows(chunks[1], 7), ElementsAre(0, 1, 2, 3, 4, 5, 6));
}

TEST(EncodePngTest, RefusesWhatIsNoImage) {
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{4}, {0, 4}, {4, 1025}, {2, 2, 1}, {2, 2, 4}}) {
    EXPECT_THAT(EncodePng(at::zeros(shape, at::kByte)),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(absl::StrCat("[", absl::StrJoin(shape, ", "),
                                                "]"))));
  }
  EXPECT_THAT(EncodePng(at::zeros({2, 2}, at::kLong)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("int64")));
  EXPECT_THAT(
      EncodePng(at::Tensor()),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("undefined")));
}

TEST(PngDataUriTest, HoldsTheFile) {
  const at::Tensor pixels = at::zeros({8, 8}, at::kByte);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string png, EncodePng(pixels));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string uri, PngDataUri(pixels));
  EXPECT_EQ(uri,
            absl::StrCat("data:image/png;base64,", absl::Base64Escape(png)));
}

}  // namespace
}  // namespace influence
