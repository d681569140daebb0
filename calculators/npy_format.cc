// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/npy_format.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "ATen/ops/empty.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"

namespace influence {
namespace {

constexpr absl::string_view kMagic("\x93NUMPY", 6);
constexpr int64_t kMaxHeaderSize = int64_t{1} << 20;
constexpr size_t kMaxDimensions = 64;  // As NumPy 2.
// Values of this many digits at most: enough for every int64.
constexpr size_t kMaxDigits = 19;

// Text of a file made fit for one line of a message.
std::string Quoted(absl::string_view text) {
  constexpr size_t kMaxShown = 60;
  const bool cut = text.size() > kMaxShown;
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, kMaxShown)),
                      cut ? "...\"" : "\"");
}

absl::Status BadHeader(absl::string_view name, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": found a malformed .npy header (", what,
                   "), expected one as NumPy writes it"));
}

std::string ShapeText(absl::Span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

// Product of `shape` and the item size; nothing if it overflows. Zero extents
// count as one, so that the strides of an empty array cannot overflow either.
std::optional<int64_t> NumBytesBound(absl::Span<const int64_t> shape,
                                     int64_t item_size) {
  int64_t product = item_size;
  for (const int64_t extent : shape) {
    if (__builtin_mul_overflow(product, std::max<int64_t>(extent, 1),
                               &product)) {
      return std::nullopt;
    }
  }
  return product;
}

int64_t NumValues(absl::Span<const int64_t> shape) {
  int64_t product = 1;
  for (const int64_t extent : shape) product *= extent;
  return product;
}

// The fields of the header's dictionary, before they are judged.
struct HeaderFields {
  std::optional<std::string> descr;
  // The text of a descr that is not a string: a structured dtype.
  std::optional<std::string> structured_descr;
  std::optional<bool> fortran_order;
  std::optional<std::vector<int64_t>> shape;
};

// Reads the one Python literal that NumPy writes: a dictionary of the three
// keys, in any order, with an optional comma after the last.
class HeaderParser {
 public:
  HeaderParser(absl::string_view name, absl::string_view text)
      : name_(name), rest_(text) {}

  absl::StatusOr<HeaderFields> Parse() {
    HeaderFields fields;
    INFLUENCE_RETURN_IF_ERROR(Expect('{'));
    while (!Consume('}')) {
      INFLUENCE_ASSIGN_OR_RETURN(const std::string key, String());
      INFLUENCE_RETURN_IF_ERROR(Expect(':'));
      INFLUENCE_RETURN_IF_ERROR(Value(key, fields));
      if (Consume(',')) continue;
      INFLUENCE_RETURN_IF_ERROR(Expect('}'));
      break;
    }
    SkipSpace();
    if (!rest_.empty()) return Unexpected("the end of the header");
    if (!fields.fortran_order.has_value()) return Missing("fortran_order");
    if (!fields.shape.has_value()) return Missing("shape");
    if (!fields.descr.has_value() && !fields.structured_descr.has_value()) {
      return Missing("descr");
    }
    return fields;
  }

 private:
  void SkipSpace() { rest_ = absl::StripLeadingAsciiWhitespace(rest_); }

  absl::Status Unexpected(absl::string_view expected) const {
    return BadHeader(name_, absl::StrCat(expected, " expected at ",
                                         Quoted(rest_.substr(0, 20))));
  }

  absl::Status Missing(absl::string_view key) const {
    return BadHeader(name_, absl::StrCat("no key '", key, "'"));
  }

  bool Consume(char c) {
    SkipSpace();
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  absl::Status Expect(char c) {
    if (Consume(c)) return absl::OkStatus();
    return Unexpected(absl::StrCat("'", absl::string_view(&c, 1), "'"));
  }

  // A string without escapes, in either kind of quotes.
  absl::StatusOr<std::string> String() {
    SkipSpace();
    if (rest_.empty() || (rest_.front() != '\'' && rest_.front() != '"')) {
      return Unexpected("a string");
    }
    const size_t end = rest_.find(rest_.front(), 1);
    if (end == absl::string_view::npos) return Unexpected("a closed string");
    std::string text(rest_.substr(1, end - 1));
    if (text.find('\\') != std::string::npos) {
      return Unexpected("a string without escapes");
    }
    rest_.remove_prefix(end + 1);
    return text;
  }

  absl::StatusOr<bool> Bool() {
    SkipSpace();
    if (absl::ConsumePrefix(&rest_, "True")) return true;
    if (absl::ConsumePrefix(&rest_, "False")) return false;
    return Unexpected("True or False");
  }

  absl::StatusOr<int64_t> Extent() {
    SkipSpace();
    size_t digits = 0;
    while (digits < rest_.size() && absl::ascii_isdigit(rest_[digits])) {
      ++digits;
    }
    if (digits == 0) return Unexpected("an extent >= 0");
    if (digits > kMaxDigits) return Unexpected("an extent that fits int64");
    int64_t value = 0;
    for (size_t i = 0; i < digits; ++i) {
      if (__builtin_mul_overflow(value, int64_t{10}, &value) ||
          __builtin_add_overflow(value, int64_t{rest_[i] - '0'}, &value)) {
        return Unexpected("an extent that fits int64");
      }
    }
    rest_.remove_prefix(digits);
    // Python 2 wrote long integers so.
    absl::ConsumePrefix(&rest_, "L");
    return value;
  }

  absl::StatusOr<std::vector<int64_t>> Shape() {
    std::vector<int64_t> shape;
    INFLUENCE_RETURN_IF_ERROR(Expect('('));
    while (!Consume(')')) {
      INFLUENCE_ASSIGN_OR_RETURN(const int64_t extent, Extent());
      if (shape.size() == kMaxDimensions) {
        return BadHeader(
            name_, absl::StrCat("more than ", kMaxDimensions, " dimensions"));
      }
      shape.push_back(extent);
      if (Consume(',')) continue;
      INFLUENCE_RETURN_IF_ERROR(Expect(')'));
      break;
    }
    return shape;
  }

  // A list: kept as text, to be named when it is refused. Brackets inside
  // strings are part of the strings.
  absl::StatusOr<std::string> List() {
    int depth = 0;
    char quote = 0;
    for (size_t i = 0; i < rest_.size(); ++i) {
      const char c = rest_[i];
      if (quote != 0) {
        if (c == quote) quote = 0;
      } else if (c == '\'' || c == '"') {
        quote = c;
      } else if (c == '[') {
        ++depth;
      } else if (c == ']' && --depth == 0) {
        std::string text(rest_.substr(0, i + 1));
        rest_.remove_prefix(i + 1);
        return text;
      }
    }
    return Unexpected("a closed list");
  }

  absl::Status Value(const std::string& key, HeaderFields& fields) {
    if (key == "descr") {
      if (fields.descr.has_value() || fields.structured_descr.has_value()) {
        return BadHeader(name_, "'descr' twice");
      }
      SkipSpace();
      if (!rest_.empty() && rest_.front() == '[') {
        INFLUENCE_ASSIGN_OR_RETURN(fields.structured_descr, List());
      } else {
        INFLUENCE_ASSIGN_OR_RETURN(fields.descr, String());
      }
    } else if (key == "fortran_order") {
      if (fields.fortran_order.has_value()) {
        return BadHeader(name_, "'fortran_order' twice");
      }
      INFLUENCE_ASSIGN_OR_RETURN(fields.fortran_order, Bool());
    } else if (key == "shape") {
      if (fields.shape.has_value()) return BadHeader(name_, "'shape' twice");
      INFLUENCE_ASSIGN_OR_RETURN(fields.shape, Shape());
    } else {
      return BadHeader(name_, absl::StrCat("unknown key ", Quoted(key)));
    }
    return absl::OkStatus();
  }

  absl::string_view name_;
  absl::string_view rest_;
};

constexpr absl::string_view kSupported =
    "bool, an integer, float16, float32 or float64";

absl::Status UnsupportedDtype(absl::string_view name, absl::string_view kind,
                              absl::string_view descr) {
  return absl::InvalidArgumentError(absl::StrCat(name, ": found ", kind,
                                                 " (dtype ", Quoted(descr),
                                                 "), expected ", kSupported));
}

// What a type character that we do not read stands for.
absl::string_view UnsupportedKind(char kind) {
  switch (kind) {
    case 'O':
      return "an object array (a pickle)";
    case 'V':
      return "a structured or raw dtype";
    case 'c':
      return "complex numbers";
    case 'S':
    case 'a':
    case 'U':
      return "strings";
    case 'M':
      return "dates";
    case 'm':
      return "time spans";
    default:
      return "an unsupported dtype";
  }
}

// Fills in dtype, item_size, big_endian and widened from header.descr.
absl::Status ResolveDtype(absl::string_view name, NpyHeader& header) {
  absl::string_view text = header.descr;
  if (!text.empty() &&
      absl::string_view("<>=|").find(text.front()) != absl::string_view::npos) {
    header.big_endian = text.front() == '>';
    text.remove_prefix(1);
  }
  // Object arrays come as "|O" and, from NumPy before 1.9, as "|O4" and "|O8".
  const char kind = text.empty() ? '\0' : text.front();
  const absl::string_view size = text.substr(text.empty() ? 0 : 1);
  if (size == "1" && kind == 'b') {
    header.dtype = at::kBool;
  } else if (size == "1" && kind == 'i') {
    header.dtype = at::kChar;
  } else if (size == "1" && kind == 'u') {
    header.dtype = at::kByte;
  } else if (size == "2" && kind == 'i') {
    header.dtype = at::kShort;
  } else if (size == "4" && kind == 'i') {
    header.dtype = at::kInt;
  } else if (size == "8" && kind == 'i') {
    header.dtype = at::kLong;
  } else if (kind == 'u' && (size == "2" || size == "4" || size == "8")) {
    header.dtype = at::kLong;
    header.widened = true;
  } else if (size == "2" && kind == 'f') {
    header.dtype = at::kHalf;
  } else if (size == "4" && kind == 'f') {
    header.dtype = at::kFloat;
  } else if (size == "8" && kind == 'f') {
    header.dtype = at::kDouble;
  } else {
    return UnsupportedDtype(name, UnsupportedKind(kind), header.descr);
  }
  header.item_size = size.front() - '0';
  return absl::OkStatus();
}

template <typename Word>
void SwapWords(char* data, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    Word word;
    std::memcpy(&word, data + i * sizeof(Word), sizeof(Word));
    if constexpr (sizeof(Word) == 2) {
      word = __builtin_bswap16(word);
    } else if constexpr (sizeof(Word) == 4) {
      word = __builtin_bswap32(word);
    } else {
      word = __builtin_bswap64(word);
    }
    std::memcpy(data + i * sizeof(Word), &word, sizeof(Word));
  }
}

void SwapBytes(char* data, int64_t count, int64_t item_size) {
  if (item_size == 2) SwapWords<uint16_t>(data, count);
  if (item_size == 4) SwapWords<uint32_t>(data, count);
  if (item_size == 8) SwapWords<uint64_t>(data, count);
}

// The dtype in which the file's bits are held until they are widened.
at::ScalarType StoredDtype(const NpyHeader& header) {
  if (!header.widened || header.item_size == 8) return header.dtype;
  return header.item_size == 4 ? at::kInt : at::kShort;
}

template <typename Stored, typename Unsigned>
void Widen(const at::Tensor& stored, at::Tensor& widened) {
  const Stored* from = stored.data_ptr<Stored>();
  int64_t* to = widened.data_ptr<int64_t>();
  for (int64_t i = 0; i < stored.numel(); ++i) {
    to[i] = static_cast<int64_t>(static_cast<Unsigned>(from[i]));
  }
}

// `stored`: contiguous, the unsigned values in signed tensors of their size.
absl::StatusOr<at::Tensor> WidenUnsigned(absl::string_view name,
                                         const NpyHeader& header, int64_t begin,
                                         at::Tensor stored) {
  if (header.item_size == 8) {
    const int64_t* values = stored.data_ptr<int64_t>();
    const int64_t count = stored.numel();
    for (int64_t i = 0; i < count; ++i) {
      if (values[i] >= 0) continue;
      const int64_t row_size = stored.dim() == 0 ? 1 : count / stored.size(0);
      return absl::InvalidArgumentError(absl::StrCat(
          name, ": found ", static_cast<uint64_t>(values[i]), " at sample ",
          begin + i / row_size, ", expected at most ",
          std::numeric_limits<int64_t>::max()));
    }
    return stored;
  }
  at::Tensor widened = at::empty(stored.sizes(), at::kLong);
  if (header.item_size == 4) {
    Widen<int32_t, uint32_t>(stored, widened);
  } else {
    Widen<int16_t, uint16_t>(stored, widened);
  }
  return widened;
}

absl::StatusOr<at::Tensor> DecodeRows(absl::string_view name,
                                      const NpyHeader& header, int64_t begin,
                                      int64_t end, NpyByteSource source) {
  std::vector<int64_t> shape = header.shape;
  if (!shape.empty()) shape.front() = end - begin;
  const int64_t num_rows = header.num_rows();
  const int64_t row_count = end - begin;
  // Fortran order is C order of the reversed shape; a range of rows is then a
  // run at the end of each line.
  std::vector<int64_t> stored_shape = shape;
  if (header.fortran_order) {
    std::reverse(stored_shape.begin(), stored_shape.end());
  }
  at::Tensor stored = at::empty(stored_shape, StoredDtype(header));
  char* data = static_cast<char*>(stored.data_ptr());
  const int64_t count = stored.numel();
  const int64_t item_size = header.item_size;
  if (count > 0) {
    const int64_t row_size = count / row_count;
    if (header.fortran_order && row_count < num_rows) {
      const int64_t run = row_count * item_size;
      for (int64_t line = 0; line < row_size; ++line) {
        INFLUENCE_RETURN_IF_ERROR(
            source((line * num_rows + begin) * item_size,
                   absl::MakeSpan(data + line * run, run)));
      }
    } else {
      INFLUENCE_RETURN_IF_ERROR(
          source(begin * row_size * item_size,
                 absl::MakeSpan(data, count * item_size)));
    }
  }
  if (header.big_endian) SwapBytes(data, count, item_size);
  if (header.dtype == at::kBool) {
    // Any byte but zero is true, and must be 1 to be a valid C++ bool.
    for (int64_t i = 0; i < count; ++i) data[i] = data[i] != 0 ? 1 : 0;
  }
  if (header.fortran_order && shape.size() > 1) {
    std::vector<int64_t> reversed(shape.size());
    for (size_t i = 0; i < shape.size(); ++i) {
      reversed[i] = static_cast<int64_t>(shape.size() - 1 - i);
    }
    stored = stored.permute(reversed).contiguous();
  }
  if (!header.widened) return stored;
  return WidenUnsigned(name, header, begin, std::move(stored));
}

}  // namespace

std::string DescribeNpyArray(const NpyHeader& header) {
  const std::string dtype = header.widened
                                ? absl::StrCat("uint", 8 * header.item_size)
                                : DtypeName(header.dtype);
  return absl::StrCat(dtype, " ", ShapeText(header.shape));
}

absl::StatusOr<int64_t> NpyDataOffset(absl::string_view name,
                                      absl::string_view bytes) {
  if (bytes.size() < static_cast<size_t>(kNpyPreambleSize)) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": found ", bytes.size(),
                     " bytes, expected a .npy array of at least ",
                     kNpyPreambleSize, " bytes"));
  }
  if (bytes.substr(0, kMagic.size()) != kMagic) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": found the first bytes ",
                     Quoted(bytes.substr(0, kMagic.size())),
                     ", expected the .npy format's ", Quoted(kMagic)));
  }
  const auto byte = [&](size_t i) {
    return static_cast<int64_t>(static_cast<unsigned char>(bytes[i]));
  };
  if (byte(6) < 1 || byte(6) > 3 || byte(7) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": found .npy version ", byte(6), ".", byte(7),
                     ", expected 1.0, 2.0 or 3.0"));
  }
  if (byte(6) == 1) return 10 + byte(8) + (byte(9) << 8);
  const int64_t size =
      byte(8) + (byte(9) << 8) + (byte(10) << 16) + (byte(11) << 24);
  if (size > kMaxHeaderSize) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": found a header of ", size,
                     " bytes, expected at most ", kMaxHeaderSize));
  }
  return 12 + size;
}

absl::StatusOr<NpyHeader> ParseNpyHeader(absl::string_view name,
                                         absl::string_view bytes) {
  INFLUENCE_ASSIGN_OR_RETURN(const int64_t data_offset,
                             NpyDataOffset(name, bytes));
  if (static_cast<int64_t>(bytes.size()) < data_offset) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": found ", bytes.size(),
                     " bytes, expected a header of ", data_offset, " bytes"));
  }
  const size_t text_offset = bytes[6] == 1 ? 10 : 12;
  const absl::string_view text =
      bytes.substr(text_offset, data_offset - text_offset);
  INFLUENCE_ASSIGN_OR_RETURN(HeaderFields fields,
                             HeaderParser(name, text).Parse());
  if (fields.structured_descr.has_value()) {
    return UnsupportedDtype(name, "a structured dtype",
                            *fields.structured_descr);
  }
  NpyHeader header;
  header.descr = *std::move(fields.descr);
  header.shape = *std::move(fields.shape);
  header.fortran_order = *fields.fortran_order;
  header.data_offset = data_offset;
  INFLUENCE_RETURN_IF_ERROR(ResolveDtype(name, header));
  // The tensor read may be wider than the file: bound that one.
  if (!NumBytesBound(header.shape, header.widened ? 8 : header.item_size)
           .has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": found shape ", ShapeText(header.shape),
                     ", expected one whose size in bytes fits int64"));
  }
  header.num_values = NumValues(header.shape);
  return header;
}

absl::StatusOr<at::Tensor> DecodeNpyRows(absl::string_view name,
                                         const NpyHeader& header, int64_t begin,
                                         int64_t end, NpyByteSource source) {
  if (begin < 0 || begin > end || end > header.num_rows()) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": found the row range [", begin, ", ", end,
                     "), expected one within [0, ", header.num_rows(), ")"));
  }
  if (header.shape.empty() && begin == end) {
    return absl::InvalidArgumentError(absl::StrCat(
        name,
        ": found an empty row range, expected [0, 1) for a single value"));
  }
  return CatchTorch(name, [&]() -> absl::StatusOr<at::Tensor> {
    return DecodeRows(name, header, begin, end, source);
  });
}

absl::Status ValidateNpySize(absl::string_view name, const NpyHeader& header,
                             int64_t found) {
  if (found == header.num_bytes()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      name, ": found ", found, " bytes of values",
      found < header.num_bytes() ? " (truncated)" : "", ", expected ",
      header.num_bytes(), " for ", DescribeNpyArray(header)));
}

absl::StatusOr<at::Tensor> DecodeNpy(absl::string_view name,
                                     absl::string_view bytes) {
  INFLUENCE_ASSIGN_OR_RETURN(const NpyHeader header,
                             ParseNpyHeader(name, bytes));
  const absl::string_view values = bytes.substr(header.data_offset);
  INFLUENCE_RETURN_IF_ERROR(
      ValidateNpySize(name, header, static_cast<int64_t>(values.size())));
  return DecodeNpyRows(name, header, 0, header.num_rows(),
                       [&](int64_t offset, absl::Span<char> out) {
                         std::memcpy(out.data(), values.data() + offset,
                                     out.size());
                         return absl::OkStatus();
                       });
}

absl::StatusOr<std::string> FormatNpyHeader(absl::string_view name,
                                            absl::Span<const int64_t> shape,
                                            at::ScalarType dtype) {
  absl::string_view descr;
  switch (dtype) {
    case at::kBool:
      descr = "|b1";
      break;
    case at::kByte:
      descr = "|u1";
      break;
    case at::kChar:
      descr = "|i1";
      break;
    case at::kShort:
      descr = "<i2";
      break;
    case at::kInt:
      descr = "<i4";
      break;
    case at::kLong:
      descr = "<i8";
      break;
    case at::kHalf:
      descr = "<f2";
      break;
    case at::kFloat:
      descr = "<f4";
      break;
    case at::kDouble:
      descr = "<f8";
      break;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": found dtype ", DtypeName(dtype),
                       ", expected bool, uint8, a signed integer, float16, "
                       "float32 or float64"));
  }
  for (const int64_t extent : shape) {
    if (extent < 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          name, ": found shape ", ShapeText(shape), ", expected extents >= 0"));
    }
  }
  if (shape.size() > kMaxDimensions || !NumBytesBound(shape, 8).has_value()) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, ": found shape ", ShapeText(shape), ", expected at most ",
        kMaxDimensions, " dimensions and a size in bytes that fits int64"));
  }
  std::string text = absl::StrCat(
      "{'descr': '", descr, "', 'fortran_order': False, 'shape': (",
      absl::StrJoin(shape, ", "), shape.size() == 1 ? ",), }" : "), }");
  // NumPy leaves room for the first extent to grow to 21 digits, then fills
  // up to a multiple of 64 bytes with a line feed at the end.
  if (!shape.empty()) {
    text.append(21 - absl::StrCat(shape.front()).size(), ' ');
  }
  constexpr size_t kAlignment = 64;
  constexpr size_t kPrefix = 10;
  const size_t unpadded = kPrefix + text.size() + 1;
  text.append((kAlignment - unpadded % kAlignment) % kAlignment, ' ');
  text.push_back('\n');
  std::string header(kMagic);
  header.push_back('\x01');
  header.push_back('\x00');
  header.push_back(static_cast<char>(text.size() & 0xff));
  header.push_back(static_cast<char>(text.size() >> 8));
  return header + text;
}

}  // namespace influence
