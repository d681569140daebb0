// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/zarr_format.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <set>
#include <utility>

#include "ATen/ops/empty.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"

namespace influence {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kMaxDimensions = 64;

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "chunks are written in the machine's byte order");

constexpr std::array<at::ScalarType, 8> kDtypes = {
    at::kBool, at::kChar, at::kShort, at::kInt,
    at::kLong, at::kByte, at::kFloat, at::kDouble};

// In Zarr's names, which are NumPy's.
std::optional<at::ScalarType> DtypeOfName(absl::string_view name) {
  for (const at::ScalarType dtype : kDtypes) {
    if (DtypeName(dtype) == name) return dtype;
  }
  return std::nullopt;
}

std::string ListText(absl::Span<const int64_t> values) {
  return absl::StrCat("[", absl::StrJoin(values, ", "), "]");
}

// At most 80 characters of what a file says.
std::string Excerpt(const Json& value) {
  std::string text =
      value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

absl::Status BadMetadata(absl::string_view name, absl::string_view what,
                         absl::string_view expected) {
  return absl::DataLossError(
      absl::StrCat(name, ": found ", what, ", expected ", expected));
}

absl::Status Unsupported(absl::string_view name, absl::string_view what,
                         absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": found ", what, ", expected ", expected));
}

// The product of `factors`, or nothing where int64 does not hold it.
std::optional<int64_t> Product(absl::Span<const int64_t> factors,
                               int64_t start) {
  int64_t product = start;
  for (const int64_t factor : factors) {
    if (__builtin_mul_overflow(product, factor, &product)) return std::nullopt;
  }
  return product;
}

int64_t ItemSize(at::ScalarType dtype) {
  return static_cast<int64_t>(c10::elementSize(dtype));
}

// NaN and infinities as the format spells them.
Json FillJson(const ZarrArrayMetadata& metadata) {
  const c10::Scalar fill = metadata.fill();
  if (metadata.dtype == at::kBool) return fill.to<bool>();
  if (!c10::isFloatingType(metadata.dtype)) return fill.to<int64_t>();
  const double value = fill.to<double>();
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

// "0x7fc00000", the bits of a float.
std::optional<double> FloatOfBits(absl::string_view text,
                                  at::ScalarType dtype) {
  uint64_t bits = 0;
  if (static_cast<int64_t>(text.size()) != 2 + 2 * ItemSize(dtype) ||
      !absl::SimpleHexAtoi(text, &bits)) {
    return std::nullopt;
  }
  if (dtype == at::kDouble) {
    double value = 0;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }
  const auto low = static_cast<uint32_t>(bits);
  float value = 0;
  std::memcpy(&value, &low, sizeof(value));
  return value;
}

absl::StatusOr<c10::Scalar> ParseFill(absl::string_view name, const Json& json,
                                      at::ScalarType dtype) {
  if (dtype == at::kBool) {
    if (json.is_boolean()) return c10::Scalar(json.get<bool>());
  } else if (c10::isFloatingType(dtype)) {
    if (json.is_number()) return c10::Scalar(json.get<double>());
    if (json == "NaN") {
      return c10::Scalar(std::numeric_limits<double>::quiet_NaN());
    }
    if (json == "Infinity") {
      return c10::Scalar(std::numeric_limits<double>::infinity());
    }
    if (json == "-Infinity") {
      return c10::Scalar(-std::numeric_limits<double>::infinity());
    }
    if (json.is_string()) {
      const std::optional<double> value =
          FloatOfBits(json.get<std::string>(), dtype);
      if (value.has_value()) return c10::Scalar(*value);
    }
  } else if (json.is_number_integer() &&
             !(json.is_number_unsigned() &&
               json.get<uint64_t>() >
                   uint64_t{std::numeric_limits<int64_t>::max()})) {
    const int64_t value = json.get<int64_t>();
    const int64_t bits = 8 * ItemSize(dtype);
    const bool has_sign = dtype != at::kByte;
    const int64_t most = bits == 64 ? std::numeric_limits<int64_t>::max()
                                    : (int64_t{1} << (bits - has_sign)) - 1;
    if (value <= most && value >= (has_sign ? -most - 1 : 0)) {
      return c10::Scalar(value);
    }
  }
  return BadMetadata(name, absl::StrCat("\"fill_value\": ", Excerpt(json)),
                     absl::StrCat("a value of ", DtypeName(dtype)));
}

absl::StatusOr<Json> ParseObject(absl::string_view name,
                                 absl::string_view text) {
  Json json = Json::parse(text.begin(), text.end(), nullptr,
                          /*allow_exceptions=*/false);
  if (json.is_discarded()) {
    return BadMetadata(name, "text that is not JSON", "Zarr metadata");
  }
  if (!json.is_object()) {
    return BadMetadata(name, Excerpt(json), "a JSON object");
  }
  return json;
}

// Version and node type.
absl::Status CheckNode(absl::string_view name, const Json& json,
                       absl::string_view node_type) {
  const auto format = json.find("zarr_format");
  if (format == json.end() || !format->is_number_integer()) {
    return BadMetadata(name, "no \"zarr_format\"", "Zarr metadata");
  }
  if (*format != 3) {
    return Unsupported(name,
                       absl::StrCat("\"zarr_format\": ", Excerpt(*format)),
                       "version 3 of Zarr");
  }
  const auto type = json.find("node_type");
  if (type == json.end() || (*type != "array" && *type != "group")) {
    return BadMetadata(name, "no \"node_type\" of the format",
                       "\"array\" or \"group\"");
  }
  if (*type != std::string(node_type)) {
    return Unsupported(name, absl::StrCat("a Zarr ", type->get<std::string>()),
                       absl::StrCat("a Zarr ", node_type));
  }
  return absl::OkStatus();
}

// What a writer of a later version has put in must be understood, unless it
// says that it need not be.
absl::Status CheckKeys(absl::string_view name, const Json& json,
                       const std::set<std::string>& known) {
  for (const auto& [key, value] : json.items()) {
    if (known.count(key) != 0) continue;
    if (value.is_object() && value.contains("must_understand") &&
        value["must_understand"] == false) {
      continue;
    }
    return Unsupported(name, absl::StrCat("\"", key, "\" in the metadata"),
                       "only what version 3.0 of Zarr knows");
  }
  return absl::OkStatus();
}

// The extension {"name": ..., "configuration": {...}}, or its name alone.
struct Extension {
  std::string name;
  Json configuration = Json::object();
};

absl::StatusOr<Extension> ParseExtension(absl::string_view name,
                                         absl::string_view field,
                                         const Json& json) {
  Extension extension;
  if (json.is_string()) {
    extension.name = json.get<std::string>();
    return extension;
  }
  if (json.is_object() && json.contains("name") && json["name"].is_string()) {
    extension.name = json["name"].get<std::string>();
    if (!json.contains("configuration")) return extension;
    if (json["configuration"].is_object()) {
      extension.configuration = json["configuration"];
      return extension;
    }
  }
  return BadMetadata(name, absl::StrCat("\"", field, "\": ", Excerpt(json)),
                     "a name and a configuration");
}

absl::StatusOr<std::vector<int64_t>> ParseExtents(absl::string_view name,
                                                  absl::string_view field,
                                                  const Json& json,
                                                  int64_t least) {
  std::vector<int64_t> extents;
  bool good =
      json.is_array() && json.size() <= static_cast<size_t>(kMaxDimensions);
  for (size_t i = 0; good && i < json.size(); ++i) {
    good = json[i].is_number_integer() &&
           !(json[i].is_number_unsigned() &&
             json[i].get<uint64_t>() >
                 uint64_t{std::numeric_limits<int64_t>::max()}) &&
           json[i].get<int64_t>() >= least;
    if (good) extents.push_back(json[i].get<int64_t>());
  }
  if (!good) {
    return BadMetadata(name, absl::StrCat("\"", field, "\": ", Excerpt(json)),
                       absl::StrCat("up to ", kMaxDimensions,
                                    " whole numbers of at least ", least));
  }
  return extents;
}

absl::Status ParseCodecs(absl::string_view name, const Json& codecs,
                         ZarrArrayMetadata& metadata) {
  constexpr absl::string_view kExpected =
      "\"bytes\", or \"bytes\" and \"zstd\"";
  if (!codecs.is_array()) {
    return BadMetadata(name, absl::StrCat("\"codecs\": ", Excerpt(codecs)),
                       "a list");
  }
  metadata.zstd = std::nullopt;
  for (size_t i = 0; i < codecs.size(); ++i) {
    INFLUENCE_ASSIGN_OR_RETURN(const Extension codec,
                               ParseExtension(name, "codecs", codecs[i]));
    const Json& configuration = codec.configuration;
    if (i == 0 && codec.name == "bytes") {
      const Json endian = configuration.value("endian", Json());
      metadata.big_endian = endian == "big";
      if (endian != "big" && endian != "little" &&
          ItemSize(metadata.dtype) > 1) {
        return BadMetadata(name, "\"bytes\" without \"endian\"",
                           "\"little\" or \"big\"");
      }
    } else if (i == 1 && codec.name == "zstd") {
      metadata.zstd = ZstdCodec();
      metadata.zstd->level = configuration.value("level", Json(1)).is_number()
                                 ? configuration.value("level", 1)
                                 : 1;
      metadata.zstd->checksum = configuration.contains("checksum") &&
                                configuration["checksum"] == true;
    } else {
      return Unsupported(
          name, absl::StrCat("the codec \"", codec.name, "\" in place ", i),
          absl::StrCat("the codecs ", kExpected));
    }
  }
  if (codecs.empty()) {
    return BadMetadata(name, "no codecs", kExpected);
  }
  return absl::OkStatus();
}

absl::Status ParseFields(absl::string_view name, const Json& json,
                         ZarrArrayMetadata& metadata) {
  for (const char* field : {"shape", "data_type", "chunk_grid",
                            "chunk_key_encoding", "fill_value", "codecs"}) {
    if (!json.contains(field)) {
      return BadMetadata(name, absl::StrCat("no \"", field, "\""),
                         "the metadata of a Zarr array");
    }
  }
  INFLUENCE_ASSIGN_OR_RETURN(metadata.shape,
                             ParseExtents(name, "shape", json["shape"], 0));

  const Json& data_type = json["data_type"];
  const std::optional<at::ScalarType> dtype =
      data_type.is_string() ? DtypeOfName(data_type.get<std::string>())
                            : std::nullopt;
  if (!dtype.has_value()) {
    return Unsupported(name,
                       absl::StrCat("\"data_type\": ", Excerpt(data_type)),
                       "bool, int8, int16, int32, int64, uint8, float32 or "
                       "float64");
  }
  metadata.dtype = *dtype;

  INFLUENCE_ASSIGN_OR_RETURN(
      const Extension grid,
      ParseExtension(name, "chunk_grid", json["chunk_grid"]));
  if (grid.name != "regular") {
    return Unsupported(name, absl::StrCat("the chunk grid \"", grid.name, "\""),
                       "\"regular\"");
  }
  INFLUENCE_ASSIGN_OR_RETURN(
      metadata.chunk_shape,
      ParseExtents(name, "chunk_shape",
                   grid.configuration.value("chunk_shape", Json()), 1));

  INFLUENCE_ASSIGN_OR_RETURN(
      const Extension keys,
      ParseExtension(name, "chunk_key_encoding", json["chunk_key_encoding"]));
  const Json separator = keys.configuration.value("separator", Json("/"));
  if (keys.name != "default" || (separator != "/" && separator != ".")) {
    return Unsupported(name,
                       absl::StrCat("the chunk key encoding ",
                                    Excerpt(json["chunk_key_encoding"])),
                       "\"default\" with \"/\" or \".\"");
  }
  metadata.separator = separator.get<std::string>()[0];

  INFLUENCE_ASSIGN_OR_RETURN(
      metadata.fill_value, ParseFill(name, json["fill_value"], metadata.dtype));
  INFLUENCE_RETURN_IF_ERROR(ParseCodecs(name, json["codecs"], metadata));

  if (json.contains("storage_transformers") &&
      !(json["storage_transformers"].is_array() &&
        json["storage_transformers"].empty())) {
    return Unsupported(name, "\"storage_transformers\"", "none");
  }
  if (json.contains("attributes")) {
    metadata.attributes = json["attributes"];
    if (!metadata.attributes.is_object()) {
      return BadMetadata(
          name, absl::StrCat("\"attributes\": ", Excerpt(json["attributes"])),
          "an object");
    }
  }
  if (json.contains("dimension_names") && !json["dimension_names"].is_null()) {
    const Json& names = json["dimension_names"];
    bool good = names.is_array() && names.size() == metadata.shape.size();
    for (size_t i = 0; good && i < names.size(); ++i) {
      good = names[i].is_string() || names[i].is_null();
      if (good) {
        metadata.dimension_names.push_back(
            names[i].is_null() ? "" : names[i].get<std::string>());
      }
    }
    if (!good) {
      return BadMetadata(name,
                         absl::StrCat("\"dimension_names\": ", Excerpt(names)),
                         absl::StrCat("a name or null for each of ",
                                      metadata.shape.size(), " dimensions"));
    }
  }
  return absl::OkStatus();
}

// Exchanges the bytes of each value.
void SwapBytes(char* data, int64_t num_values, int64_t item_size) {
  for (int64_t i = 0; i < num_values; ++i) {
    std::reverse(data + i * item_size, data + (i + 1) * item_size);
  }
}

std::string Dump(const Json& json) {
  return absl::StrCat(
      json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace), "\n");
}

absl::Status ValidateAttributes(absl::string_view name,
                                const ZarrAttributes& attributes) {
  if (attributes.is_object()) return absl::OkStatus();
  return Unsupported(name, absl::StrCat("attributes ", Excerpt(attributes)),
                     "a JSON object");
}

}  // namespace

int64_t ZarrArrayMetadata::chunk_bytes() const {
  int64_t bytes = ItemSize(dtype);
  for (const int64_t extent : chunk_shape) bytes *= extent;
  return bytes;
}

std::vector<int64_t> ZarrArrayMetadata::grid_shape() const {
  std::vector<int64_t> grid;
  for (size_t d = 0; d < shape.size(); ++d) {
    grid.push_back(shape[d] / chunk_shape[d] +
                   (shape[d] % chunk_shape[d] != 0 ? 1 : 0));
  }
  return grid;
}

int64_t ZarrArrayMetadata::num_chunks() const {
  int64_t count = 1;
  for (const int64_t extent : grid_shape()) count *= extent;
  return count;
}

c10::Scalar ZarrArrayMetadata::fill() const {
  if (fill_value.has_value()) return *fill_value;
  if (!c10::isFloatingType(dtype)) return c10::Scalar(int64_t{0});
  return c10::Scalar(std::numeric_limits<double>::quiet_NaN());
}

std::string ZarrArrayMetadata::ToString() const {
  return absl::StrCat(DtypeName(dtype), " ", ListText(shape), " in chunks of ",
                      ListText(chunk_shape));
}

absl::Status ValidateZarrArray(absl::string_view name,
                               const ZarrArrayMetadata& metadata) {
  const auto bad = [&](absl::string_view what, absl::string_view expected) {
    return Unsupported(name, what, expected);
  };
  if (!DtypeOfName(DtypeName(metadata.dtype)).has_value()) {
    return bad(absl::StrCat("dtype ", DtypeName(metadata.dtype)),
               "bool, int8, int16, int32, int64, uint8, float32 or float64");
  }
  if (metadata.num_dimensions() > kMaxDimensions) {
    return bad(absl::StrCat(metadata.num_dimensions(), " dimensions"),
               absl::StrCat("at most ", kMaxDimensions));
  }
  if (metadata.chunk_shape.size() != metadata.shape.size()) {
    return bad(absl::StrCat("chunk shape ", ListText(metadata.chunk_shape)),
               absl::StrCat(metadata.shape.size(), " extents, as of shape ",
                            ListText(metadata.shape)));
  }
  for (size_t d = 0; d < metadata.shape.size(); ++d) {
    if (metadata.shape[d] < 0) {
      return bad(absl::StrCat("shape ", ListText(metadata.shape)),
                 "no negative extent");
    }
    if (metadata.chunk_shape[d] < 1) {
      return bad(absl::StrCat("chunk shape ", ListText(metadata.chunk_shape)),
                 "extents of at least 1");
    }
  }
  // Extents of 0 must not hide an overflow of the others.
  std::vector<int64_t> extents = metadata.shape;
  for (int64_t& extent : extents) extent = std::max<int64_t>(extent, 1);
  if (!Product(extents, ItemSize(metadata.dtype)).has_value()) {
    return bad(absl::StrCat("shape ", ListText(metadata.shape)),
               "an array whose size in bytes fits int64");
  }
  const std::optional<int64_t> chunk_bytes =
      Product(metadata.chunk_shape, ItemSize(metadata.dtype));
  if (!chunk_bytes.has_value() || *chunk_bytes > kMaxZarrChunkBytes) {
    return bad(
        absl::StrCat("chunk shape ", ListText(metadata.chunk_shape)),
        absl::StrCat("chunks of at most ", kMaxZarrChunkBytes, " bytes"));
  }
  if (!metadata.dimension_names.empty() &&
      metadata.dimension_names.size() != metadata.shape.size()) {
    return bad(
        absl::StrCat(metadata.dimension_names.size(), " dimension names"),
        absl::StrCat(metadata.shape.size()));
  }
  if (metadata.separator != '/' && metadata.separator != '.') {
    return bad(
        absl::StrCat("separator '", std::string(1, metadata.separator), "'"),
        "'/' or '.'");
  }
  if (metadata.zstd.has_value() && (metadata.zstd->level < ZSTD_minCLevel() ||
                                    metadata.zstd->level > ZSTD_maxCLevel())) {
    return bad(absl::StrCat("compression level ", metadata.zstd->level),
               absl::StrCat("a level from ", ZSTD_minCLevel(), " to ",
                            ZSTD_maxCLevel()));
  }
  return ValidateAttributes(name, metadata.attributes);
}

absl::StatusOr<std::string> FormatZarrArray(absl::string_view name,
                                            const ZarrArrayMetadata& metadata) {
  INFLUENCE_RETURN_IF_ERROR(ValidateZarrArray(name, metadata));
  return CatchTorch(name, [&]() -> absl::StatusOr<std::string> {
    Json codecs = Json::array();
    codecs.push_back({{"name", "bytes"},
                      {"configuration",
                       {{"endian", metadata.big_endian ? "big" : "little"}}}});
    if (metadata.zstd.has_value()) {
      codecs.push_back({{"name", "zstd"},
                        {"configuration",
                         {{"level", metadata.zstd->level},
                          {"checksum", metadata.zstd->checksum}}}});
    }
    Json json;
    json["zarr_format"] = 3;
    json["node_type"] = "array";
    json["shape"] = metadata.shape;
    json["data_type"] = DtypeName(metadata.dtype);
    json["chunk_grid"] = {
        {"name", "regular"},
        {"configuration", {{"chunk_shape", metadata.chunk_shape}}}};
    json["chunk_key_encoding"] = {
        {"name", "default"},
        {"configuration", {{"separator", std::string(1, metadata.separator)}}}};
    json["fill_value"] = FillJson(metadata);
    json["codecs"] = std::move(codecs);
    json["attributes"] = metadata.attributes;
    if (!metadata.dimension_names.empty()) {
      Json names = Json::array();
      for (const std::string& dimension : metadata.dimension_names) {
        names.push_back(dimension.empty() ? Json() : Json(dimension));
      }
      json["dimension_names"] = std::move(names);
    }
    return Dump(json);
  });
}

absl::StatusOr<std::string> FormatZarrGroup(absl::string_view name,
                                            const ZarrAttributes& attributes) {
  INFLUENCE_RETURN_IF_ERROR(ValidateAttributes(name, attributes));
  return CatchTorch(name, [&]() -> absl::StatusOr<std::string> {
    Json json;
    json["zarr_format"] = 3;
    json["node_type"] = "group";
    json["attributes"] = attributes;
    return Dump(json);
  });
}

absl::StatusOr<ZarrArrayMetadata> ParseZarrArray(absl::string_view name,
                                                 absl::string_view json) {
  // The JSON library throws where a type is not what it was asked for.
  return CatchTorch(name, [&]() -> absl::StatusOr<ZarrArrayMetadata> {
    INFLUENCE_ASSIGN_OR_RETURN(const Json object, ParseObject(name, json));
    INFLUENCE_RETURN_IF_ERROR(CheckNode(name, object, "array"));
    INFLUENCE_RETURN_IF_ERROR(
        CheckKeys(name, object,
                  {"zarr_format", "node_type", "shape", "data_type",
                   "chunk_grid", "chunk_key_encoding", "fill_value", "codecs",
                   "attributes", "dimension_names", "storage_transformers"}));
    ZarrArrayMetadata metadata;
    INFLUENCE_RETURN_IF_ERROR(ParseFields(name, object, metadata));
    INFLUENCE_RETURN_IF_ERROR(ValidateZarrArray(name, metadata));
    return metadata;
  });
}

absl::StatusOr<ZarrAttributes> ParseZarrGroup(absl::string_view name,
                                              absl::string_view json) {
  return CatchTorch(name, [&]() -> absl::StatusOr<ZarrAttributes> {
    INFLUENCE_ASSIGN_OR_RETURN(const Json object, ParseObject(name, json));
    INFLUENCE_RETURN_IF_ERROR(CheckNode(name, object, "group"));
    INFLUENCE_RETURN_IF_ERROR(CheckKeys(
        name, object,
        {"zarr_format", "node_type", "attributes", "consolidated_metadata"}));
    ZarrAttributes attributes =
        object.value("attributes", ZarrAttributes::object());
    if (!attributes.is_object()) {
      return BadMetadata(name,
                         absl::StrCat("\"attributes\": ", Excerpt(attributes)),
                         "an object");
    }
    return attributes;
  });
}

std::string ZarrChunkKey(const ZarrArrayMetadata& metadata,
                         absl::Span<const int64_t> index) {
  std::string key = "c";
  for (const int64_t i : index) {
    absl::StrAppend(&key, std::string(1, metadata.separator), i);
  }
  return key;
}

std::vector<int64_t> ZarrChunkExtents(const ZarrArrayMetadata& metadata,
                                      absl::Span<const int64_t> index) {
  std::vector<int64_t> extents;
  for (size_t d = 0; d < index.size(); ++d) {
    const int64_t chunk = metadata.chunk_shape[d];
    extents.push_back(std::min(chunk, metadata.shape[d] - index[d] * chunk));
  }
  return extents;
}

absl::StatusOr<std::string> EncodeZarrChunk(absl::string_view name,
                                            const ZarrArrayMetadata& metadata,
                                            const at::Tensor& values) {
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined(name, values));
  bool fits = values.scalar_type() == metadata.dtype &&
              values.dim() == metadata.num_dimensions();
  for (int64_t d = 0; fits && d < values.dim(); ++d) {
    fits = values.size(d) <= metadata.chunk_shape[d];
  }
  if (!fits) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, ": found values ", DtypeName(values.scalar_type()), " ",
        ShapeString(values), ", expected a chunk of ", metadata.ToString()));
  }
  return CatchTorch(name, [&]() -> absl::StatusOr<std::string> {
    at::Tensor chunk = values.detach().to(at::kCPU);
    if (chunk.sizes() != at::IntArrayRef(metadata.chunk_shape)) {
      at::Tensor full = at::empty(metadata.chunk_shape, chunk.options());
      full.fill_(metadata.fill());
      at::Tensor part = full;
      for (int64_t d = 0; d < chunk.dim(); ++d) {
        part = part.narrow(d, 0, chunk.size(d));
      }
      part.copy_(chunk);
      chunk = std::move(full);
    }
    chunk = chunk.contiguous();
    const auto size = static_cast<size_t>(metadata.chunk_bytes());
    const char* data = static_cast<const char*>(chunk.data_ptr());
    std::string swapped;
    if (metadata.big_endian) {
      swapped.assign(data, size);
      SwapBytes(swapped.data(), chunk.numel(), ItemSize(metadata.dtype));
      data = swapped.data();
    }
    if (!metadata.zstd.has_value()) return std::string(data, size);

    ZSTD_CCtx* const context = ZSTD_createCCtx();
    if (context == nullptr) {
      return absl::ResourceExhaustedError(
          absl::StrCat(name, ": found no memory to compress"));
    }
    ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel,
                           metadata.zstd->level);
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag,
                           metadata.zstd->checksum ? 1 : 0);
    std::string bytes(ZSTD_compressBound(size), '\0');
    const size_t compressed =
        ZSTD_compress2(context, bytes.data(), bytes.size(), data, size);
    ZSTD_freeCCtx(context);
    if (ZSTD_isError(compressed) != 0) {
      return absl::InternalError(absl::StrCat(
          name, ": found \"", ZSTD_getErrorName(compressed), "\" compressing"));
    }
    bytes.resize(compressed);
    return bytes;
  });
}

absl::StatusOr<at::Tensor> DecodeZarrChunk(absl::string_view name,
                                           const ZarrArrayMetadata& metadata,
                                           absl::string_view bytes) {
  return CatchTorch(name, [&]() -> absl::StatusOr<at::Tensor> {
    const auto damaged = [&](absl::string_view what) {
      return absl::DataLossError(
          absl::StrCat(name, ": found damaged data (", what, ", ", bytes.size(),
                       " bytes), expected a chunk of ", metadata.ToString()));
    };
    const auto size = static_cast<size_t>(metadata.chunk_bytes());
    at::Tensor chunk =
        at::empty(metadata.chunk_shape, at::TensorOptions(metadata.dtype));
    char* data = static_cast<char*>(chunk.data_ptr());
    if (!metadata.zstd.has_value()) {
      if (bytes.size() != size) {
        return damaged(absl::StrCat("not the ", size, " bytes of a chunk"));
      }
      std::memcpy(data, bytes.data(), size);
    } else {
      // The flag in the frame says whether its checksum is there to be checked.
      constexpr size_t kDescriptor = 4;
      constexpr int kChecksumFlag = 4;
      if (metadata.zstd->checksum &&
          (bytes.size() <= kDescriptor ||
           (bytes[kDescriptor] & kChecksumFlag) == 0)) {
        return damaged("no zstd frame with a checksum");
      }
      const size_t got =
          ZSTD_decompress(data, size, bytes.data(), bytes.size());
      if (ZSTD_isError(got) != 0) return damaged(ZSTD_getErrorName(got));
      if (got != size) {
        return damaged(absl::StrCat(got, " bytes of values instead of ", size));
      }
    }
    if (metadata.big_endian) {
      SwapBytes(data, chunk.numel(), ItemSize(metadata.dtype));
    }
    if (metadata.dtype == at::kBool &&
        std::any_of(data, data + size,
                    [](char byte) { return byte != 0 && byte != 1; })) {
      return damaged("a bool that is neither 0 nor 1");
    }
    return chunk;
  });
}

std::vector<int64_t> ZarrChunkShapeForTiles(absl::Span<const int64_t> shape,
                                            absl::Span<const int64_t> tile,
                                            int64_t item_size,
                                            int64_t max_bytes) {
  std::vector<int64_t> chunk;
  for (size_t d = 0; d < shape.size(); ++d) {
    chunk.push_back(std::max<int64_t>(1, std::min(tile[d], shape[d])));
  }
  const auto too_large = [&] {
    const std::optional<int64_t> bytes = Product(chunk, item_size);
    return !bytes.has_value() || *bytes > max_bytes;
  };
  // Along a dimension that one tile spans, chunks may end anywhere; else a
  // tile's extent must be a multiple of theirs.
  for (const bool spanned : {true, false}) {
    for (size_t d = 0; d < shape.size(); ++d) {
      if ((tile[d] >= shape[d]) != spanned) continue;
      const int64_t extent = chunk[d];
      while (chunk[d] > 1 && too_large()) {
        chunk[d] = (chunk[d] + 1) / 2;
        while (!spanned && extent % chunk[d] != 0) --chunk[d];
      }
    }
  }
  return chunk;
}

}  // namespace influence
