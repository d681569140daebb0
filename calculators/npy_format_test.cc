// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/npy_format.h"

#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "ATen/ops/arange.h"
#include "ATen/ops/equal.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using ::testing::StartsWith;

// A file that NumPy wrote; see testdata/generate.py.
std::string Golden(const std::string& name) {
  std::ifstream file(absl::StrCat("calculators/testdata/", name, ".npy"),
                     std::ios::binary);
  EXPECT_TRUE(file.good()) << name;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// Version 1 file of the given header text, which it pads, and values.
std::string NpyBytes(const std::string& header, const std::string& values) {
  std::string text = header;
  text.resize((text.size() / 64 + 2) * 64 - 10 - 1, ' ');
  text.push_back('\n');
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes.push_back(static_cast<char>(text.size() & 0xff));
  bytes.push_back(static_cast<char>(text.size() >> 8));
  return bytes + text + values;
}

std::string Header(const std::string& descr, const std::string& shape) {
  return absl::StrCat("{'descr': '", descr,
                      "', 'fortran_order': False, 'shape': ", shape, ", }");
}

template <typename T>
std::vector<T> Values(const at::Tensor& tensor) {
  EXPECT_TRUE(tensor.is_contiguous());
  const T* data = tensor.data_ptr<T>();
  return std::vector<T>(data, data + tensor.numel());
}

struct IntegerCase {
  const char* name;
  at::ScalarType dtype;
  const char* description;
  std::vector<int64_t> values;
};

class NpyFormatIntegerTest : public ::testing::TestWithParam<IntegerCase> {};

TEST_P(NpyFormatIntegerTest, ReadsTheValuesThatNumpyWrote) {
  const IntegerCase& test = GetParam();
  const std::string bytes = Golden(test.name);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const NpyHeader header,
                                 ParseNpyHeader("a.npy", bytes));
  EXPECT_EQ(DescribeNpyArray(header), test.description);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor read,
                                 DecodeNpy("a.npy", bytes));
  EXPECT_EQ(read.scalar_type(), test.dtype);
  EXPECT_EQ(read.sizes(), at::IntArrayRef({2, 3}));
  EXPECT_EQ(Values<int64_t>(read.to(at::kLong)), test.values);
}

constexpr int64_t kMin64 = std::numeric_limits<int64_t>::min();
constexpr int64_t kMax64 = std::numeric_limits<int64_t>::max();

INSTANTIATE_TEST_SUITE_P(
    Dtypes, NpyFormatIntegerTest,
    ::testing::Values(
        IntegerCase{"bool", at::kBool, "bool [2, 3]", {1, 0, 1, 0, 0, 1}},
        IntegerCase{"int8", at::kChar, "int8 [2, 3]", {-128, -1, 0, 1, 2, 127}},
        IntegerCase{
            "uint8", at::kByte, "uint8 [2, 3]", {0, 1, 2, 127, 128, 255}},
        IntegerCase{"int16",
                    at::kShort,
                    "int16 [2, 3]",
                    {-32768, -1, 0, 1, 0x0102, 32767}},
        IntegerCase{"uint16",
                    at::kLong,
                    "uint16 [2, 3]",
                    {0, 1, 0x0102, 32767, 32768, 65535}},
        IntegerCase{"int32",
                    at::kInt,
                    "int32 [2, 3]",
                    {-2147483648, -1, 0, 1, 0x01020304, 2147483647}},
        IntegerCase{"uint32",
                    at::kLong,
                    "uint32 [2, 3]",
                    {0, 1, 0x01020304, 2147483647, 2147483648, 4294967295}},
        IntegerCase{"int64",
                    at::kLong,
                    "int64 [2, 3]",
                    {kMin64, -1, 0, 1, 0x0102030405060708, kMax64}},
        IntegerCase{"uint64",
                    at::kLong,
                    "uint64 [2, 3]",
                    {0, 1, 2, 4294967296, 0x0102030405060708, kMax64}},
        IntegerCase{"int16_big_endian",
                    at::kShort,
                    "int16 [2, 3]",
                    {-32768, -1, 0, 1, 0x0102, 32767}},
        IntegerCase{"uint16_big_endian",
                    at::kLong,
                    "uint16 [2, 3]",
                    {0, 1, 0x0102, 32767, 32768, 65535}},
        IntegerCase{"int32_big_endian",
                    at::kInt,
                    "int32 [2, 3]",
                    {-2147483648, -1, 0, 1, 0x01020304, 2147483647}},
        IntegerCase{"uint32_big_endian",
                    at::kLong,
                    "uint32 [2, 3]",
                    {0, 1, 0x01020304, 2147483647, 2147483648, 4294967295}},
        IntegerCase{"int64_big_endian",
                    at::kLong,
                    "int64 [2, 3]",
                    {kMin64, -1, 0, 1, 0x0102030405060708, kMax64}},
        IntegerCase{"uint64_big_endian",
                    at::kLong,
                    "uint64 [2, 3]",
                    {0, 1, 2, 4294967296, 0x0102030405060708, kMax64}}),
    [](const ::testing::TestParamInfo<IntegerCase>& test) {
      return std::string(test.param.name);
    });

struct FloatCase {
  const char* name;
  at::ScalarType dtype;
  std::vector<double> values;
};

class NpyFormatFloatTest : public ::testing::TestWithParam<FloatCase> {};

TEST_P(NpyFormatFloatTest, ReadsTheValuesThatNumpyWrote) {
  const FloatCase& test = GetParam();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor read,
                                 DecodeNpy("a.npy", Golden(test.name)));
  EXPECT_EQ(read.scalar_type(), test.dtype);
  EXPECT_EQ(read.sizes(), at::IntArrayRef({2, 3}));
  // Exact: every value is one of the dtype, and float64 holds them all.
  EXPECT_EQ(Values<double>(read.to(at::kDouble)), test.values);
}

INSTANTIATE_TEST_SUITE_P(
    Dtypes, NpyFormatFloatTest,
    ::testing::Values(
        FloatCase{
            "float16", at::kHalf, {-65504, -1.5, 0, 0x1p-24, 0.25, 65504}},
        FloatCase{
            "float32", at::kFloat, {-1e38f, -1.5, 0, 0x1p-149, 0.1f, 1e38f}},
        FloatCase{
            "float64", at::kDouble, {-1e308, -1.5, 0, 0x1p-1074, 0.1, 1e308}},
        FloatCase{"float16_big_endian",
                  at::kHalf,
                  {-65504, -1.5, 0, 0x1p-24, 0.25, 65504}},
        FloatCase{"float32_big_endian",
                  at::kFloat,
                  {-1e38f, -1.5, 0, 0x1p-149, 0.1f, 1e38f}},
        FloatCase{"float64_big_endian",
                  at::kDouble,
                  {-1e308, -1.5, 0, 0x1p-1074, 0.1, 1e308}}),
    [](const ::testing::TestParamInfo<FloatCase>& test) {
      return std::string(test.param.name);
    });

// [2, 3, 4] holding 0, 1, ... 23 in row-major order.
at::Tensor Cube() { return at::arange(24, at::kLong).reshape({2, 3, 4}); }

TEST(NpyFormatTest, TransposesFortranOrder) {
  for (const char* name :
       {"fortran_float32", "fortran_big_endian_int32", "fortran_uint16"}) {
    SCOPED_TRACE(name);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor read,
                                   DecodeNpy("a.npy", Golden(name)));
    EXPECT_TRUE(read.is_contiguous());
    EXPECT_TRUE(at::equal(read.to(at::kLong), Cube()));
  }
}

TEST(NpyFormatTest, DecodesRangesOfRowsInEitherOrder) {
  for (const char* name : {"version_2", "fortran_float32"}) {
    SCOPED_TRACE(name);
    const std::string bytes = Golden(name);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const NpyHeader header,
                                   ParseNpyHeader("a.npy", bytes));
    const auto source = [&](int64_t offset, absl::Span<char> out) {
      EXPECT_LE(header.data_offset + offset + out.size(), bytes.size());
      std::memcpy(out.data(), bytes.data() + header.data_offset + offset,
                  out.size());
      return absl::OkStatus();
    };
    for (int64_t begin = 0; begin <= 2; ++begin) {
      for (int64_t end = begin; end <= 2; ++end) {
        INFLUENCE_ASSERT_OK_AND_ASSIGN(
            const at::Tensor rows,
            DecodeNpyRows("a.npy", header, begin, end, source));
        EXPECT_TRUE(at::equal(rows.to(at::kLong), Cube().slice(0, begin, end)));
      }
    }
    for (const auto& [begin, end] :
         std::vector<std::pair<int64_t, int64_t>>{{-1, 1}, {2, 1}, {0, 3}}) {
      EXPECT_THAT(
          DecodeNpyRows("a.npy", header, begin, end, source),
          StatusIs(absl::StatusCode::kInvalidArgument,
                   HasSubstr(absl::StrCat("a.npy: found the row range [", begin,
                                          ", ", end, "), expected"))));
    }
  }
}

TEST(NpyFormatTest, AsksForAllRowsWithoutGaps) {
  const std::string bytes = Golden("fortran_big_endian_int32");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const NpyHeader header,
                                 ParseNpyHeader("a.npy", bytes));
  int64_t position = 0;
  INFLUENCE_ASSERT_OK(DecodeNpyRows("a.npy", header, 0, 2,
                                    [&](int64_t offset, absl::Span<char> out) {
                                      EXPECT_EQ(offset, position);
                                      position += out.size();
                                      std::memset(out.data(), 0, out.size());
                                      return absl::OkStatus();
                                    }));
  EXPECT_EQ(position, header.num_bytes());
}

TEST(NpyFormatTest, ReturnsTheFailureOfTheSource) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const NpyHeader header,
                                 ParseNpyHeader("a.npy", Golden("vector")));
  EXPECT_THAT(DecodeNpyRows("a.npy", header, 0, 5,
                            [](int64_t, absl::Span<char>) {
                              return absl::DataLossError("gone");
                            }),
              StatusIs(absl::StatusCode::kDataLoss, "gone"));
}

TEST(NpyFormatTest, ReadsVersions2And3) {
  for (const char* name : {"version_2", "version_3"}) {
    SCOPED_TRACE(name);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor read,
                                   DecodeNpy("a.npy", Golden(name)));
    EXPECT_EQ(read.scalar_type(), at::kFloat);
    EXPECT_TRUE(at::equal(read.to(at::kLong), Cube()));
  }
}

TEST(NpyFormatTest, ReadsASingleValueAndAnEmptyArray) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor single,
                                 DecodeNpy("a.npy", Golden("single_value")));
  EXPECT_EQ(single.dim(), 0);
  EXPECT_EQ(single.item<double>(), 2.5);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor empty,
                                 DecodeNpy("a.npy", Golden("no_rows")));
  EXPECT_EQ(empty.sizes(), at::IntArrayRef({0, 3}));
}

TEST(NpyFormatTest, AcceptsWhatPythonAcceptsInAHeader) {
  const std::string value("\x01\x00\x02\x00", 4);
  for (const char* text : {
           "{'shape': (2,), 'descr': '<i2', 'fortran_order': False}",
           "{\"descr\":\"<i2\",\"fortran_order\":False,\"shape\":(2,)}",
           "{ 'descr' : '<i2' , 'fortran_order' : True , 'shape' : ( 2 , ) , }",
           "{'descr': '<i2', 'fortran_order': False, 'shape': (2L,), }",
           "{'descr': '=i2', 'fortran_order': False, 'shape': (1, 2), }",
       }) {
    SCOPED_TRACE(text);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor read,
                                   DecodeNpy("a.npy", NpyBytes(text, value)));
    EXPECT_THAT(Values<int16_t>(read), ElementsAre(1, 2));
  }
}

TEST(NpyFormatTest, TakesEveryByteButZeroForTrue) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor read,
      DecodeNpy("a.npy", NpyBytes(Header("|b1", "(3,)"),
                                  std::string("\x00\x02\xff", 3))));
  const uint8_t* bytes = static_cast<const uint8_t*>(read.data_ptr());
  EXPECT_THAT(std::vector<int>(bytes, bytes + 3), ElementsAre(0, 1, 1));
}

struct RefusedCase {
  const char* name;
  const char* message;
};

class NpyFormatRefusedTest : public ::testing::TestWithParam<RefusedCase> {};

TEST_P(NpyFormatRefusedTest, NamesTheDtype) {
  EXPECT_THAT(
      DecodeNpy("a.npy", Golden(GetParam().name)),
      StatusIs(
          absl::StatusCode::kInvalidArgument,
          AllOf(StartsWith(absl::StrCat("a.npy: found ", GetParam().message)),
                HasSubstr("expected bool, an integer, float16, float32 "
                          "or float64"))));
}

INSTANTIATE_TEST_SUITE_P(
    Dtypes, NpyFormatRefusedTest,
    ::testing::Values(
        RefusedCase{"object", "an object array (a pickle) (dtype \"|O\")"},
        RefusedCase{
            "structured",
            "a structured dtype (dtype \"[(\\'a\\', \\'<f4\\'), (\\'b\\'"},
        RefusedCase{"complex64", "complex numbers (dtype \"<c8\")"},
        RefusedCase{"unicode", "strings (dtype \"<U2\")"},
        RefusedCase{"bytes", "strings (dtype \"|S2\")"},
        RefusedCase{"raw", "a structured or raw dtype (dtype \"|V4\")"},
        RefusedCase{"date", "dates (dtype \"<M8[D]\")"},
        RefusedCase{"time_span", "time spans (dtype \"<m8[s]\")"},
        RefusedCase{"long_double", "an unsupported dtype (dtype \"<f16\")"}),
    [](const ::testing::TestParamInfo<RefusedCase>& test) {
      return std::string(test.param.name);
    });

TEST(NpyFormatTest, RefusesAnUnsignedValueAboveInt64) {
  EXPECT_THAT(
      DecodeNpy("a.npy", Golden("above_int64")),
      StatusIs(absl::StatusCode::kInvalidArgument,
               "a.npy: found 9223372036854775808 at sample 1, expected at "
               "most 9223372036854775807"));
}

TEST(NpyFormatTest, NamesBothSizesOfATruncatedOrOverlongFile) {
  const std::string bytes = Golden("float32");
  EXPECT_THAT(DecodeNpy("a.npy", bytes.substr(0, bytes.size() - 1)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "a.npy: found 23 bytes of values (truncated), expected "
                       "24 for float32 [2, 3]"));
  EXPECT_THAT(DecodeNpy("a.npy", bytes + "z"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "a.npy: found 25 bytes of values, expected 24 for "
                       "float32 [2, 3]"));
}

TEST(NpyFormatTest, RefusesEveryPrefixOfAFile) {
  const std::string bytes = Golden("version_2");
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THAT(
        DecodeNpy("a.npy", bytes.substr(0, size)),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 AllOf(StartsWith("a.npy: found "), HasSubstr("expected"))));
  }
}

TEST(NpyFormatTest, RefusesAnotherFormatOrVersion) {
  EXPECT_THAT(DecodeNpy("a.npy", "PK\x03\x04 a zip archive"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found the first bytes \"PK\\x03\\x04 a\"")));
  std::string bytes = Golden("float32");
  bytes[6] = 4;
  EXPECT_THAT(DecodeNpy("a.npy", bytes),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found .npy version 4.0, expected 1.0")));
  bytes[6] = 1;
  bytes[7] = 1;
  EXPECT_THAT(DecodeNpy("a.npy", bytes),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found .npy version 1.1, expected 1.0")));
}

TEST(NpyFormatTest, RefusesAHeaderOfAbsurdLength) {
  std::string bytes = Golden("version_2");
  bytes[11] = '\x7f';
  EXPECT_THAT(DecodeNpy("a.npy", bytes),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found a header of 2130706")));
}

struct MalformedCase {
  const char* text;
  const char* why;
};

class NpyFormatMalformedTest : public ::testing::TestWithParam<MalformedCase> {
};

TEST_P(NpyFormatMalformedTest, SaysWhatIsWrong) {
  EXPECT_THAT(DecodeNpy("a.npy", NpyBytes(GetParam().text, "")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(StartsWith("a.npy: found a malformed .npy header"),
                             HasSubstr(GetParam().why))));
}

INSTANTIATE_TEST_SUITE_P(
    Headers, NpyFormatMalformedTest,
    ::testing::Values(
        MalformedCase{"", "'{' expected"},
        MalformedCase{"{}", "no key 'fortran_order'"},
        MalformedCase{"{'fortran_order': True}", "no key 'shape'"},
        MalformedCase{"{'fortran_order': True, 'shape': ()}", "no key 'descr'"},
        MalformedCase{"{'descr': '<f4'", "'}' expected"},
        MalformedCase{"{'descr' '<f4'}", "':' expected"},
        MalformedCase{"{'descr': '<f4}", "a closed string expected"},
        MalformedCase{"{'descr': '<f\\x34'}", "without escapes"},
        MalformedCase{"{'descr': 4}", "a string expected"},
        MalformedCase{"{'descr': [('a', '<f4')}", "a closed list expected"},
        MalformedCase{"{'descr': '<f4', 'descr': '<f4'}", "'descr' twice"},
        MalformedCase{"{'shape': (), 'shape': ()}", "'shape' twice"},
        MalformedCase{"{'fortran_order': True, 'fortran_order': True}",
                      "'fortran_order' twice"},
        MalformedCase{"{'color': 'red'}", "unknown key \"color\""},
        MalformedCase{"{'fortran_order': 0}", "True or False expected"},
        MalformedCase{"{'shape': 3}", "'(' expected"},
        MalformedCase{"{'shape': (-1,)}", "an extent >= 0 expected"},
        MalformedCase{"{'shape': (3.5,)}", "')' expected"},
        MalformedCase{"{'shape': (9223372036854775808,)}", "fits int64"},
        MalformedCase{"{'shape': (99999999999999999999999,)}", "fits int64"},
        MalformedCase{"{'descr': '<f4', 'fortran_order': False, "
                      "'shape': ()} x",
                      "the end of the header expected"}));

TEST(NpyFormatTest, RefusesTooManyDimensions) {
  std::string shape = "(";
  for (int i = 0; i < 65; ++i) shape += "1, ";
  EXPECT_THAT(DecodeNpy("a.npy", NpyBytes(Header("<f4", shape + ")"), "0123")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("more than 64 dimensions")));
}

TEST(NpyFormatTest, RefusesAShapeWhoseSizeOverflows) {
  for (const char* shape : {
           "(9223372036854775807,)",
           "(4294967296, 4294967296)",
           // No values, but no strides either.
           "(0, 4294967296, 4294967296)",
       }) {
    EXPECT_THAT(DecodeNpy("a.npy", NpyBytes(Header("<f4", shape), "")),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("expected one whose size in bytes fits "
                                   "int64")));
  }
  // One that would only overflow when widened to int64.
  EXPECT_THAT(
      ParseNpyHeader("a.npy",
                     NpyBytes(Header("<u2", "(2305843009213693952,)"), "")),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("fits int64")));
}

TEST(NpyFormatTest, RefusesDtypesThatDoNotExist) {
  for (const char* descr : {"", "<", "f", "<f", "<f3", "<i16", "|b2", "<u0",
                            "<f44", "float32", "<\x01", "|O8"}) {
    EXPECT_THAT(DecodeNpy("a.npy", NpyBytes(Header(descr, "(1,)"), "01234567")),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("expected bool, an integer")))
        << descr;
  }
}

TEST(NpyFormatTest, WritesTheHeaderThatNumpyWrites) {
  for (const auto& [name, dtype] :
       std::vector<std::pair<std::string, at::ScalarType>>{
           {"bool", at::kBool},
           {"uint8", at::kByte},
           {"int8", at::kChar},
           {"int16", at::kShort},
           {"int32", at::kInt},
           {"int64", at::kLong},
           {"float16", at::kHalf},
           {"float32", at::kFloat},
           {"float64", at::kDouble},
           {"vector", at::kLong},
           {"no_rows", at::kFloat},
           {"single_value", at::kDouble}}) {
    SCOPED_TRACE(name);
    const std::string bytes = Golden(name);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const NpyHeader header,
                                   ParseNpyHeader(name, bytes));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string written,
                                   FormatNpyHeader(name, header.shape, dtype));
    EXPECT_EQ(written, bytes.substr(0, header.data_offset));
  }
}

TEST(NpyFormatTest, RefusesToWriteAHeaderNobodyCouldRead) {
  EXPECT_THAT(FormatNpyHeader("a.npy", {2}, at::kComplexFloat),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("a.npy: found dtype")));
  EXPECT_THAT(FormatNpyHeader("a.npy", {2, -1}, at::kFloat),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found shape [2, -1], expected extents")));
  EXPECT_THAT(
      FormatNpyHeader("a.npy", {int64_t{1} << 40, int64_t{1} << 40},
                      at::kFloat),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("fits int64")));
  EXPECT_THAT(FormatNpyHeader("a.npy", std::vector<int64_t>(65, 1), at::kFloat),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("at most 64 dimensions")));
}

}  // namespace
}  // namespace influence
