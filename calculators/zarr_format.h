// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The Zarr format, version 3 (zarr-specs.readthedocs.io, core protocol 3.0):
// metadata of arrays and groups as JSON, and the bytes of a chunk. Knows
// nothing of files; zarr_array.h and zarr_store_writer.h do.
//
// An array of shape s is cut into chunks of shape c, a regular grid of
// ceil(s_d / c_d) chunks along dimension d. Each chunk is stored by itself, in
// full: where one reaches beyond the array's end, the rest holds the fill
// value. Supported are the data types bool, int8, int16, int32, int64, uint8,
// float32 and float64, the chunk key encoding `default`, and the codecs `bytes`
// alone or followed by `zstd`; what else the format knows is refused by name.
//
// No input can crash these functions. Messages begin with the `name` that the
// caller gives (a file). All functions are thread-safe.
#ifndef INFLUENCE_CALCULATORS_ZARR_FORMAT_H_
#define INFLUENCE_CALCULATORS_ZARR_FORMAT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "nlohmann/json.hpp"

namespace influence {

// A JSON object that keeps its order.
using ZarrAttributes = nlohmann::ordered_json;

// The metadata file of an array or a group.
inline constexpr absl::string_view kZarrMetadataFile = "zarr.json";

// Chunks larger than this are not written: some readers cannot hold them.
inline constexpr int64_t kMaxZarrChunkBytes = int64_t{1} << 30;

struct ZstdCodec {
  int level = 1;         // -131072 to 22; higher is smaller and slower.
  bool checksum = true;  // XXH64 of the values, 4 bytes a chunk.
};

struct ZarrArrayMetadata {
  std::vector<int64_t> shape = {};  // Entries >= 0; empty for a single value.
  std::vector<int64_t> chunk_shape = {};  // Entries >= 1, as many as of shape.
  at::ScalarType dtype = at::kFloat;
  // What a missing chunk holds. NaN, unless set, where dtype is floating, so
  // that a missing score does not pass for a 0; else 0.
  std::optional<c10::Scalar> fill_value = std::nullopt;
  bool big_endian = false;  // Bytes of the values in the chunks.
  std::optional<ZstdCodec> zstd = ZstdCodec();
  char separator = '/';  // Between the numbers of a chunk key; or '.'.
  ZarrAttributes attributes = ZarrAttributes::object();
  // None, or one for each dimension; "" for a dimension without a name.
  std::vector<std::string> dimension_names = {};

  int64_t num_dimensions() const { return static_cast<int64_t>(shape.size()); }
  int64_t chunk_bytes() const;              // Before compression.
  std::vector<int64_t> grid_shape() const;  // Chunks along each dimension.
  int64_t num_chunks() const;               // 1 for a single value.

  // NaN or 0 where fill_value is not set.
  c10::Scalar fill() const;

  // "float32 [5, 7] in chunks of [2, 3]", for messages.
  std::string ToString() const;
};

// kInvalidArgument, naming the field, if the metadata contradict themselves,
// the array or a chunk is too large, or the dtype is not supported.
absl::Status ValidateZarrArray(absl::string_view name,
                               const ZarrArrayMetadata& metadata);

// The contents of zarr.json. Errors of ValidateZarrArray(); kInvalidArgument if
// the attributes are not an object.
absl::StatusOr<std::string> FormatZarrArray(absl::string_view name,
                                            const ZarrArrayMetadata& metadata);
absl::StatusOr<std::string> FormatZarrGroup(absl::string_view name,
                                            const ZarrAttributes& attributes);

// Reads what zarr.json says. kDataLoss if it is not JSON or lacks what the
// format demands; kInvalidArgument if it is of another version or node type, or
// asks for what is not supported here.
absl::StatusOr<ZarrArrayMetadata> ParseZarrArray(absl::string_view name,
                                                 absl::string_view json);
absl::StatusOr<ZarrAttributes> ParseZarrGroup(absl::string_view name,
                                              absl::string_view json);

// Where a chunk is, relative to the array's folder: "c/0/1". `index` has an
// entry for each dimension.
std::string ZarrChunkKey(const ZarrArrayMetadata& metadata,
                         absl::Span<const int64_t> index);

// The extents of chunk `index` within the array: the chunk's shape but for the
// last along a dimension.
std::vector<int64_t> ZarrChunkExtents(const ZarrArrayMetadata& metadata,
                                      absl::Span<const int64_t> index);

// The stored bytes of a chunk. values: of shape chunk_shape, or smaller, where
// the fill value fills up; dtype as the metadata's. kInvalidArgument otherwise.
// Memory: the chunk once for the result, once more if it is filled up.
absl::StatusOr<std::string> EncodeZarrChunk(absl::string_view name,
                                            const ZarrArrayMetadata& metadata,
                                            const at::Tensor& values);

// The reverse: a new tensor of shape chunk_shape. kDataLoss, naming the chunk's
// file by `name`, if the bytes are damaged: too few or many, not a zstd frame,
// or of another checksum.
absl::StatusOr<at::Tensor> DecodeZarrChunk(absl::string_view name,
                                           const ZarrArrayMetadata& metadata,
                                           absl::string_view bytes);

// A chunk shape for an array that is written tile by tile: each tile of the
// regular grid of `tile` is a whole number of chunks, none of more than
// `max_bytes`. Cut first are the dimensions that a tile spans.
std::vector<int64_t> ZarrChunkShapeForTiles(absl::Span<const int64_t> shape,
                                            absl::Span<const int64_t> tile,
                                            int64_t item_size,
                                            int64_t max_bytes = int64_t{128}
                                                                << 20);

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_ZARR_FORMAT_H_
