// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/zarr_format.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "ATen/ops/arange.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/full.h"
#include "ATen/ops/ones.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

ZarrArrayMetadata FiveBySeven() {
  ZarrArrayMetadata metadata;
  metadata.shape = {5, 7};
  metadata.chunk_shape = {2, 3};
  return metadata;
}

std::string Formatted(const ZarrArrayMetadata& metadata) {
  const absl::StatusOr<std::string> json = FormatZarrArray("a", metadata);
  EXPECT_THAT(json, IsOk());
  return *json;
}

// What zarr-python 3.1.5 writes, but for line breaks.
constexpr char kOfZarrPython[] = R"({
  "shape": [5, 7], "data_type": "float32",
  "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 3]}},
  "chunk_key_encoding": {"name": "default",
                         "configuration": {"separator": "/"}},
  "fill_value": "NaN",
  "codecs": [{"name": "bytes", "configuration": {"endian": "little"}},
             {"name": "zstd", "configuration": {"level": 0, "checksum": false}}],
  "attributes": {"units": "raw"}, "dimension_names": ["query", null],
  "zarr_format": 3, "node_type": "array", "storage_transformers": []})";

TEST(ZarrFormatTest, ReadsMetadataOfZarrPython) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArrayMetadata metadata,
                                 ParseZarrArray("a", kOfZarrPython));
  EXPECT_THAT(metadata.shape, ElementsAre(5, 7));
  EXPECT_THAT(metadata.chunk_shape, ElementsAre(2, 3));
  EXPECT_EQ(metadata.dtype, at::kFloat);
  EXPECT_TRUE(std::isnan(metadata.fill().to<double>()));
  EXPECT_FALSE(metadata.big_endian);
  ASSERT_TRUE(metadata.zstd.has_value());
  EXPECT_EQ(metadata.zstd->level, 0);
  EXPECT_FALSE(metadata.zstd->checksum);
  EXPECT_EQ(metadata.separator, '/');
  EXPECT_EQ(metadata.attributes["units"], "raw");
  EXPECT_THAT(metadata.dimension_names, ElementsAre("query", ""));
}

TEST(ZarrFormatTest, FormatsWhatItParses) {
  ZarrArrayMetadata metadata = FiveBySeven();
  metadata.dtype = at::kLong;
  metadata.fill_value = c10::Scalar(std::numeric_limits<int64_t>::min());
  metadata.zstd = ZstdCodec{7, true};
  metadata.separator = '.';
  metadata.attributes = {{"z", 1.5}, {"a", {1, 2}}};
  metadata.dimension_names = {"query", ""};
  const std::string json = Formatted(metadata);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArrayMetadata parsed,
                                 ParseZarrArray("a", json));
  EXPECT_EQ(Formatted(parsed), json);
  EXPECT_EQ(parsed.fill().to<int64_t>(), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(parsed.zstd->level, 7);
  EXPECT_TRUE(parsed.zstd->checksum);
  EXPECT_EQ(parsed.attributes.dump(), R"({"z":1.5,"a":[1,2]})");

  metadata.zstd = std::nullopt;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArrayMetadata plain,
                                 ParseZarrArray("a", Formatted(metadata)));
  EXPECT_FALSE(plain.zstd.has_value());
}

TEST(ZarrFormatTest, KnowsTheGrid) {
  ZarrArrayMetadata metadata = FiveBySeven();
  EXPECT_THAT(metadata.grid_shape(), ElementsAre(3, 3));
  EXPECT_EQ(metadata.num_chunks(), 9);
  EXPECT_EQ(metadata.chunk_bytes(), 24);
  EXPECT_THAT(ZarrChunkExtents(metadata, {1, 1}), ElementsAre(2, 3));
  EXPECT_THAT(ZarrChunkExtents(metadata, {2, 2}), ElementsAre(1, 1));
  EXPECT_EQ(ZarrChunkKey(metadata, {0, 12}), "c/0/12");
  metadata.separator = '.';
  EXPECT_EQ(ZarrChunkKey(metadata, {0, 12}), "c.0.12");

  ZarrArrayMetadata single;
  EXPECT_EQ(single.num_chunks(), 1);
  EXPECT_EQ(ZarrChunkKey(single, {}), "c");
  ZarrArrayMetadata empty = FiveBySeven();
  empty.shape = {0, 7};
  EXPECT_EQ(empty.num_chunks(), 0);
}

TEST(ZarrFormatTest, ReadsEachFillValue) {
  const auto fill = [](const char* dtype, const char* value) {
    return ParseZarrArray(
        "a",
        absl::StrReplaceAll(kOfZarrPython,
                            {{"\"float32\"", absl::StrCat("\"", dtype, "\"")},
                             {"\"NaN\"", value}}));
  };
  EXPECT_EQ(fill("float64", "1.5")->fill().to<double>(), 1.5);
  EXPECT_EQ(fill("float64", "\"-Infinity\"")->fill().to<double>(),
            -std::numeric_limits<double>::infinity());
  EXPECT_EQ(fill("float32", "\"0x3fc00000\"")->fill().to<double>(), 1.5);
  EXPECT_EQ(fill("float64", "\"0x3ff8000000000000\"")->fill().to<double>(),
            1.5);
  EXPECT_EQ(fill("int8", "-128")->fill().to<int64_t>(), -128);
  EXPECT_EQ(fill("uint8", "255")->fill().to<int64_t>(), 255);
  EXPECT_TRUE(fill("bool", "true")->fill().to<bool>());
  for (const auto& [dtype, value] :
       std::vector<std::pair<const char*, const char*>>{
           {"int8", "128"},
           {"uint8", "-1"},
           {"uint8", "256"},
           {"int64", "18446744073709551615"},
           {"int64", "1.5"},
           {"bool", "1"},
           {"float32", "\"0x3ff8000000000000\""},
           {"float32", "null"},
           {"float32", "[]"}}) {
    EXPECT_THAT(fill(dtype, value), StatusIs(absl::StatusCode::kDataLoss,
                                             HasSubstr("\"fill_value\"")))
        << dtype << " " << value;
  }
}

TEST(ZarrFormatTest, NamesWhatItDoesNotSupport) {
  for (const auto& [from, to, expected] :
       std::vector<std::tuple<const char*, const char*, const char*>>{
           {"\"zarr_format\": 3", "\"zarr_format\": 2", "\"zarr_format\": 2"},
           {"\"array\"", "\"group\"", "found a Zarr group"},
           {"\"float32\"", "\"float16\"", "\"data_type\": \"float16\""},
           {"\"float32\"", "{\"name\": \"numpy.datetime64\"}", "datetime64"},
           {"\"zstd\"", "\"gzip\"", "the codec \"gzip\" in place 1"},
           {"\"bytes\"", "\"sharding_indexed\"", "sharding_indexed"},
           {"\"regular\"", "\"rectilinear\"", "the chunk grid \"rectilinear\""},
           {"\"default\"", "\"v2\"", "chunk key encoding"},
           {"\"attributes\"", "\"new_thing\": 1, \"attributes\"",
            "\"new_thing\""},
           {"[]", "[{\"name\": \"x\"}]", "storage_transformers"}}) {
    const std::string json = absl::StrReplaceAll(kOfZarrPython, {{from, to}});
    EXPECT_THAT(ParseZarrArray("f", json),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(StartsWith("f: "), HasSubstr(expected))))
        << to;
  }
  EXPECT_THAT(
      ParseZarrArray(
          "f",
          absl::StrReplaceAll(
              kOfZarrPython,
              {{"\"attributes\"",
                "\"hint\": {\"must_understand\": false}, \"attributes\""}})),
      IsOk());
}

TEST(ZarrFormatTest, NamesWhatIsDamaged) {
  for (const auto& [from, to, expected] :
       std::vector<std::tuple<const char*, const char*, const char*>>{
           {"[5, 7]", "[5, -7]", "\"shape\""},
           {"[5, 7]", "[5, 1e3]", "\"shape\""},
           {"[5, 7]", "[5, 18446744073709551615]", "\"shape\""},
           {"[2, 3]", "[2, 0]", "\"chunk_shape\""},
           {"\"data_type\"", "\"date_type\"", "date_type"},
           {"\"little\"", "\"middle\"", "endian"},
           {"{\"units\": \"raw\"}", "7", "\"attributes\""},
           {"[\"query\", null]", "[\"query\"]", "\"dimension_names\""},
           {"\"array\"", "\"arroy\"", "node_type"},
           {"\"shape\"", "\"shape", "not JSON"}}) {
    const absl::Status status =
        ParseZarrArray("f", absl::StrReplaceAll(kOfZarrPython, {{from, to}}))
            .status();
    EXPECT_FALSE(status.ok()) << to;
    EXPECT_THAT(std::string(status.message()),
                AllOf(StartsWith("f: "), HasSubstr(expected)));
  }
  EXPECT_THAT(ParseZarrArray("f", ""),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("not JSON")));
  EXPECT_THAT(ParseZarrArray("f", "[]"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("JSON object")));
}

// Every cut and every changed character ends in a status or in metadata, never
// in a crash.
TEST(ZarrFormatTest, SurvivesMutations) {
  const std::string good = kOfZarrPython;
  for (size_t i = 0; i < good.size(); ++i) {
    ParseZarrArray("f", good.substr(0, i)).status().IgnoreError();
    for (const char c : {'\0', '"', '{', '9', '-', '\xff'}) {
      std::string mutated = good;
      mutated[i] = c;
      ParseZarrArray("f", mutated).status().IgnoreError();
      ParseZarrGroup("f", mutated).status().IgnoreError();
    }
  }
}

TEST(ZarrFormatTest, FormatsAndParsesGroups) {
  const ZarrAttributes attributes = {{"blocks", {"fc1.weight", "fc2"}}};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string json,
                                 FormatZarrGroup("g", attributes));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrAttributes parsed,
                                 ParseZarrGroup("g", json));
  EXPECT_EQ(parsed, attributes);
  EXPECT_THAT(ParseZarrGroup("g", R"({"zarr_format":3,"node_type":"group"})"),
              IsOk());
  EXPECT_THAT(ParseZarrGroup("g", kOfZarrPython),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found a Zarr array, expected a Zarr group")));
  EXPECT_THAT(FormatZarrGroup("g", ZarrAttributes(3)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("expected a JSON object")));
}

TEST(ZarrFormatTest, RefusesContradictions) {
  const auto refused = [](absl::string_view text) {
    return StatusIs(
        absl::StatusCode::kInvalidArgument,
        AllOf(StartsWith("a: found "), HasSubstr(std::string(text))));
  };
  ZarrArrayMetadata metadata = FiveBySeven();
  metadata.dtype = at::kHalf;
  EXPECT_THAT(FormatZarrArray("a", metadata), refused("float16"));
  metadata = FiveBySeven();
  metadata.chunk_shape = {2};
  EXPECT_THAT(FormatZarrArray("a", metadata), refused("chunk shape [2]"));
  metadata = FiveBySeven();
  metadata.shape = {int64_t{1} << 40, int64_t{1} << 40};
  EXPECT_THAT(FormatZarrArray("a", metadata), refused("fits int64"));
  metadata = FiveBySeven();
  metadata.chunk_shape = {1 << 20, 1 << 20};
  EXPECT_THAT(FormatZarrArray("a", metadata), refused("chunks of at most"));
  metadata = FiveBySeven();
  metadata.zstd->level = 23;
  EXPECT_THAT(FormatZarrArray("a", metadata), refused("level 23"));
  metadata = FiveBySeven();
  metadata.dimension_names = {"q"};
  EXPECT_THAT(FormatZarrArray("a", metadata), refused("1 dimension names"));
}

class ZarrChunkTest : public ::testing::TestWithParam<at::ScalarType> {};

TEST_P(ZarrChunkTest, DecodesWhatItEncodes) {
  ZarrArrayMetadata metadata = FiveBySeven();
  metadata.dtype = GetParam();
  const at::Tensor values =
      at::arange(6).reshape({2, 3}).remainder(2).to(GetParam());
  for (const bool big_endian : {false, true}) {
    metadata.big_endian = big_endian;
    for (const bool compressed : {false, true}) {
      metadata.zstd = std::nullopt;
      if (compressed) metadata.zstd = ZstdCodec();
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string bytes,
                                     EncodeZarrChunk("a", metadata, values));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor decoded,
                                     DecodeZarrChunk("a", metadata, bytes));
      EXPECT_EQ(decoded.scalar_type(), GetParam());
      EXPECT_TRUE(at::equal(decoded, values));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, ZarrChunkTest,
                         ::testing::Values(at::kBool, at::kChar, at::kShort,
                                           at::kInt, at::kLong, at::kByte,
                                           at::kFloat, at::kDouble));

TEST(ZarrChunkTest, WritesLittleEndianValuesInOrder) {
  ZarrArrayMetadata metadata = FiveBySeven();
  metadata.dtype = at::kInt;
  metadata.zstd = std::nullopt;
  const at::Tensor transposed =
      at::arange(6, at::TensorOptions(at::kInt)).reshape({3, 2}).t();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string bytes,
                                 EncodeZarrChunk("a", metadata, transposed));
  EXPECT_EQ(bytes, std::string("\0\0\0\0\2\0\0\0\4\0\0\0"
                               "\1\0\0\0\3\0\0\0\5\0\0\0",
                               24));
}

TEST(ZarrChunkTest, FillsUpASmallerOne) {
  const ZarrArrayMetadata metadata = FiveBySeven();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::string bytes,
      EncodeZarrChunk("a", metadata, at::ones({1, 2})));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor decoded,
                                 DecodeZarrChunk("a", metadata, bytes));
  for (int64_t i = 0; i < 2; ++i) {
    for (int64_t j = 0; j < 3; ++j) {
      const float value = decoded.select(0, i).select(0, j).item<float>();
      if (i < 1 && j < 2) {
        EXPECT_EQ(value, 1);
      } else {
        EXPECT_TRUE(std::isnan(value));
      }
    }
  }
}

TEST(ZarrChunkTest, RefusesOtherValues) {
  const ZarrArrayMetadata metadata = FiveBySeven();
  for (const at::Tensor& values :
       {at::ones({3, 3}), at::ones({2}), at::ones({2, 3}, at::kDouble)}) {
    EXPECT_THAT(EncodeZarrChunk("a", metadata, values),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("expected a chunk of float32 [5, 7] in "
                                   "chunks of [2, 3]")));
  }
}

// One bit anywhere: an error that says so, or (in bits of zstd's header that
// mean nothing for the values) the same values.
TEST(ZarrChunkTest, NoticesEveryFlippedBitAndEveryCut) {
  const ZarrArrayMetadata metadata = FiveBySeven();
  const at::Tensor values =
      at::arange(6, at::TensorOptions(at::kFloat)).reshape({2, 3});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string bytes,
                                 EncodeZarrChunk("a", metadata, values));
  int harmless = 0;
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    const absl::StatusOr<at::Tensor> decoded =
        DecodeZarrChunk("c/0/0", metadata, damaged);
    if (decoded.ok()) {
      ++harmless;
      EXPECT_TRUE(at::equal(*decoded, values)) << "bit " << bit;
    } else {
      EXPECT_THAT(decoded, StatusIs(absl::StatusCode::kDataLoss,
                                    StartsWith("c/0/0: found damaged data")));
    }
  }
  EXPECT_LE(harmless, 8);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THAT(DecodeZarrChunk("c/0/0", metadata, bytes.substr(0, size)),
                StatusIs(absl::StatusCode::kDataLoss,
                         StartsWith("c/0/0: found damaged data")))
        << size;
  }
  EXPECT_THAT(DecodeZarrChunk("c/0/0", metadata, bytes + "x"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("damaged")));
}

TEST(ZarrChunkTest, NoticesAnotherSize) {
  ZarrArrayMetadata metadata = FiveBySeven();
  ZarrArrayMetadata smaller = metadata;
  smaller.chunk_shape = {2, 2};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::string bytes, EncodeZarrChunk("a", smaller, at::ones({2, 2})));
  EXPECT_THAT(DecodeZarrChunk("a", metadata, bytes),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("16 bytes of values instead of 24")));
  metadata.zstd = std::nullopt;
  EXPECT_THAT(DecodeZarrChunk("a", metadata, std::string(23, 'x')),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("not the 24 bytes of a chunk")));
  metadata.dtype = at::kBool;
  EXPECT_THAT(
      DecodeZarrChunk("a", metadata, std::string(6, '\2')),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("neither 0 nor 1")));
}

TEST(ZarrChunkShapeForTilesTest, CutsTilesIntoWholeChunks) {
  EXPECT_THAT(ZarrChunkShapeForTiles({5, 7}, {2, 3}, 4), ElementsAre(2, 3));
  // A tile larger than the array is the array.
  EXPECT_THAT(ZarrChunkShapeForTiles({5, 7}, {8, 8}, 4), ElementsAre(5, 7));
  EXPECT_THAT(ZarrChunkShapeForTiles({0, 7}, {2, 3}, 4), ElementsAre(1, 3));
  EXPECT_THAT(ZarrChunkShapeForTiles({}, {}, 4), IsEmpty());
  // Rows of factors: the columns, which a tile spans, are cut first.
  EXPECT_THAT(ZarrChunkShapeForTiles({100, 1000}, {10, 1000}, 4, 20000),
              ElementsAre(10, 500));
  // And where that is not enough, by a divisor of the tile's extent.
  EXPECT_THAT(ZarrChunkShapeForTiles({100, 10}, {15, 10}, 4, 20),
              ElementsAre(5, 1));
  EXPECT_THAT(ZarrChunkShapeForTiles({100, 100}, {7, 9}, 4, 4),
              ElementsAre(1, 1));
}

}  // namespace
}  // namespace influence
