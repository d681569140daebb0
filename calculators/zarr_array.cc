// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/zarr_array.h"

#include <sys/stat.h>
#include <zstd.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "ATen/ops/empty.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "calculators/atomic_file.h"

namespace influence {
namespace {

constexpr int64_t kMaxMetadataBytes = int64_t{256} << 20;
constexpr size_t kMaxNameBytes = 200;

std::string MetadataPath(const std::string& folder) {
  return absl::StrCat(folder, "/", kZarrMetadataFile);
}

bool Exists(const std::string& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0;
}

absl::StatusOr<std::string> ReadMetadata(const std::string& folder) {
  absl::StatusOr<std::string> json =
      ReadFile(MetadataPath(folder), kMaxMetadataBytes);
  if (json.ok() || Exists(MetadataPath(folder))) return json;
  if (Exists(MetadataPath(absl::StrCat(folder, ".incomplete")))) {
    return absl::NotFoundError(
        absl::StrCat(folder, ": found only ", folder,
                     ".incomplete of an unfinished run, expected a complete "
                     "Zarr store"));
  }
  return absl::NotFoundError(
      absl::StrCat(folder, ": found ",
                   Exists(folder) ? "no zarr.json in it" : "nothing there",
                   ", expected a Zarr store"));
}

absl::Status CheckComplete(const std::string& folder,
                           const ZarrAttributes& attributes,
                           bool allow_incomplete) {
  const auto complete = attributes.find(kZarrCompleteAttribute);
  if (allow_incomplete || complete == attributes.end() || *complete != false) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      folder,
      ": found what an unfinished run has left, expected a complete "
      "Zarr store"));
}

std::string IndexText(absl::Span<const int64_t> index) {
  return absl::StrCat("(", absl::StrJoin(index, ", "), ")");
}

}  // namespace

absl::StatusOr<ZarrArray> ZarrArray::Open(const std::string& folder,
                                          bool allow_incomplete) {
  INFLUENCE_ASSIGN_OR_RETURN(const std::string json, ReadMetadata(folder));
  INFLUENCE_ASSIGN_OR_RETURN(ZarrArrayMetadata metadata,
                             ParseZarrArray(MetadataPath(folder), json));
  INFLUENCE_RETURN_IF_ERROR(
      CheckComplete(folder, metadata.attributes, allow_incomplete));
  const auto complete = metadata.attributes.find(kZarrCompleteAttribute);
  const bool is_complete =
      complete != metadata.attributes.end() && *complete == true;
  return ZarrArray(folder, std::move(metadata), is_complete);
}

ZarrArray::ZarrArray(std::string folder, ZarrArrayMetadata metadata,
                     bool complete)
    : folder_(std::move(folder)),
      metadata_(std::move(metadata)),
      complete_(complete) {}

std::string ZarrArray::ChunkPath(absl::Span<const int64_t> index) const {
  return absl::StrCat(folder_, "/", ZarrChunkKey(metadata_, index));
}

absl::StatusOr<at::Tensor> ZarrArray::ReadWholeChunk(
    absl::Span<const int64_t> index) const {
  const std::string path = ChunkPath(index);
  const auto chunk_bytes = static_cast<size_t>(metadata_.chunk_bytes());
  // What is larger than what any compressor makes of it is not read.
  const auto max_bytes = static_cast<int64_t>(ZSTD_compressBound(chunk_bytes)) +
                         (int64_t{1} << 16);
  const absl::StatusOr<std::string> bytes = ReadFile(path, max_bytes);
  const auto in_chunk = [&](const absl::Status& status) {
    return absl::Status(
        status.code(),
        absl::StrCat(status.message(), "; it is chunk ", IndexText(index)));
  };
  if (!bytes.ok()) {
    if (bytes.status().code() != absl::StatusCode::kNotFound) {
      return in_chunk(bytes.status());
    }
    if (complete_) {
      return absl::DataLossError(
          absl::StrCat(path, ": found no such file, expected chunk ",
                       IndexText(index), " of ", metadata_.ToString()));
    }
    return CatchTorch(path, [&]() -> absl::StatusOr<at::Tensor> {
      at::Tensor chunk =
          at::empty(metadata_.chunk_shape, at::TensorOptions(metadata_.dtype));
      chunk.fill_(metadata_.fill());
      return chunk;
    });
  }
  absl::StatusOr<at::Tensor> chunk = DecodeZarrChunk(path, metadata_, *bytes);
  if (!chunk.ok()) return in_chunk(chunk.status());
  return chunk;
}

absl::StatusOr<at::Tensor> ZarrArray::ReadChunk(
    absl::Span<const int64_t> index) const {
  const std::vector<int64_t> grid = metadata_.grid_shape();
  bool inside = index.size() == grid.size();
  for (size_t d = 0; inside && d < grid.size(); ++d) {
    inside = index[d] >= 0 && index[d] < grid[d];
  }
  if (!inside) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder_, ": found chunk ", IndexText(index),
                     ", expected one of [", absl::StrJoin(grid, ", "), "]"));
  }
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor chunk, ReadWholeChunk(index));
  const std::vector<int64_t> extents = ZarrChunkExtents(metadata_, index);
  if (extents == metadata_.chunk_shape) return chunk;
  return CatchTorch(folder_, [&]() -> absl::StatusOr<at::Tensor> {
    for (size_t d = 0; d < extents.size(); ++d) {
      chunk = chunk.narrow(static_cast<int64_t>(d), 0, extents[d]);
    }
    return chunk.contiguous();
  });
}

absl::StatusOr<at::Tensor> ZarrArray::Read(
    absl::Span<const int64_t> begin, absl::Span<const int64_t> end) const {
  const size_t dimensions = metadata_.shape.size();
  bool inside = begin.size() == dimensions && end.size() == dimensions;
  for (size_t d = 0; inside && d < dimensions; ++d) {
    inside =
        begin[d] >= 0 && begin[d] <= end[d] && end[d] <= metadata_.shape[d];
  }
  if (!inside) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder_, ": found the range from ", IndexText(begin),
                     " to ", IndexText(end), ", expected one within [",
                     absl::StrJoin(metadata_.shape, ", "), "]"));
  }
  return CatchTorch(folder_, [&]() -> absl::StatusOr<at::Tensor> {
    std::vector<int64_t> shape;
    std::vector<int64_t> grid_begin;
    std::vector<int64_t> grid_end;
    bool is_empty = false;
    for (size_t d = 0; d < dimensions; ++d) {
      const int64_t chunk = metadata_.chunk_shape[d];
      shape.push_back(end[d] - begin[d]);
      grid_begin.push_back(begin[d] / chunk);
      grid_end.push_back((end[d] + chunk - 1) / chunk);
      is_empty = is_empty || begin[d] == end[d];
    }
    at::Tensor result = at::empty(shape, at::TensorOptions(metadata_.dtype));
    if (is_empty) return result;
    INFLUENCE_RETURN_IF_ERROR(ForEachZarrChunk(
        grid_begin, grid_end,
        [&](absl::Span<const int64_t> index) -> absl::Status {
          INFLUENCE_ASSIGN_OR_RETURN(at::Tensor from, ReadWholeChunk(index));
          at::Tensor to = result;
          for (size_t d = 0; d < dimensions; ++d) {
            const int64_t chunk_begin = index[d] * metadata_.chunk_shape[d];
            const int64_t first = std::max(begin[d], chunk_begin);
            const int64_t last =
                std::min(end[d], chunk_begin + metadata_.chunk_shape[d]);
            const auto dimension = static_cast<int64_t>(d);
            from = from.narrow(dimension, first - chunk_begin, last - first);
            to = to.narrow(dimension, first - begin[d], last - first);
          }
          to.copy_(from);
          return absl::OkStatus();
        }));
    return result;
  });
}

absl::StatusOr<at::Tensor> ZarrArray::ReadRows(int64_t begin,
                                               int64_t end) const {
  if (metadata_.shape.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        folder_, ": found an array without dimensions, expected rows"));
  }
  std::vector<int64_t> first(metadata_.shape.size(), 0);
  std::vector<int64_t> last = metadata_.shape;
  first[0] = begin;
  last[0] = end;
  return Read(first, last);
}

absl::StatusOr<at::Tensor> ZarrArray::ReadAll() const {
  return Read(std::vector<int64_t>(metadata_.shape.size(), 0), metadata_.shape);
}

absl::Status ZarrArray::Verify() const {
  const std::vector<int64_t> grid = metadata_.grid_shape();
  return ForEachZarrChunk(std::vector<int64_t>(grid.size(), 0), grid,
                          [&](absl::Span<const int64_t> index) {
                            return ReadWholeChunk(index).status();
                          });
}

absl::StatusOr<ZarrGroup> ZarrGroup::Open(const std::string& folder,
                                          bool allow_incomplete) {
  INFLUENCE_ASSIGN_OR_RETURN(const std::string json, ReadMetadata(folder));
  INFLUENCE_ASSIGN_OR_RETURN(ZarrAttributes attributes,
                             ParseZarrGroup(MetadataPath(folder), json));
  INFLUENCE_RETURN_IF_ERROR(
      CheckComplete(folder, attributes, allow_incomplete));
  return ZarrGroup(folder, std::move(attributes), allow_incomplete);
}

ZarrGroup::ZarrGroup(std::string folder, ZarrAttributes attributes,
                     bool allow_incomplete)
    : folder_(std::move(folder)),
      attributes_(std::move(attributes)),
      allow_incomplete_(allow_incomplete) {}

absl::StatusOr<ZarrArray> ZarrGroup::OpenArray(absl::string_view name) const {
  INFLUENCE_ASSIGN_OR_RETURN(const std::string path, ZarrNodePath(name));
  return ZarrArray::Open(absl::StrCat(folder_, "/", path), allow_incomplete_);
}

absl::StatusOr<ZarrNodeType> ZarrNodeTypeOf(const std::string& folder) {
  INFLUENCE_ASSIGN_OR_RETURN(const std::string json, ReadMetadata(folder));
  const absl::Status group =
      ParseZarrGroup(MetadataPath(folder), json).status();
  if (group.ok()) return ZarrNodeType::kGroup;
  INFLUENCE_RETURN_IF_ERROR(
      ParseZarrArray(MetadataPath(folder), json).status());
  return ZarrNodeType::kArray;
}

absl::StatusOr<std::string> ZarrNodePath(absl::string_view name) {
  std::string path;
  for (const absl::string_view part : absl::StrSplit(name, '/')) {
    std::string escaped;
    for (const char c : part) {
      const bool special =
          absl::ascii_iscntrl(static_cast<unsigned char>(c)) || c == '%' ||
          // A name of dots only, or one that is hidden, or one that the format
          // has reserved.
          (escaped.empty() && (c == '.' || absl::StartsWith(part, "__") ||
                               part == kZarrMetadataFile));
      if (special) {
        absl::StrAppendFormat(&escaped, "%%%02X",
                              static_cast<unsigned char>(c));
      } else {
        escaped.push_back(c);
      }
    }
    if (escaped.empty() || escaped.size() > kMaxNameBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("name: found \"", name, "\", expected parts of 1 to ",
                       kMaxNameBytes, " bytes between slashes"));
    }
    absl::StrAppend(&path, path.empty() ? "" : "/", escaped);
  }
  return path;
}

}  // namespace influence
