// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/zarr_sink.h"

#include <algorithm>
#include <cstddef>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"

namespace influence {
namespace {

// Where the region that begins at `begin` and is at most `extents` large ends.
std::vector<int64_t> EndOf(const ZarrArrayMetadata& metadata,
                           absl::Span<const int64_t> begin,
                           absl::Span<const int64_t> extents) {
  std::vector<int64_t> end = metadata.shape;
  for (size_t d = 0; d < extents.size(); ++d) {
    end[d] = std::min(end[d], begin[d] + extents[d]);
  }
  return end;
}

// Refuses what is not the whole tile at `begin`.
absl::Status CheckTile(absl::string_view name,
                       const ZarrArrayMetadata& metadata,
                       absl::Span<const int64_t> begin,
                       absl::Span<const int64_t> end, const at::Tensor& tile) {
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined(name, tile));
  std::vector<int64_t> expected;
  for (size_t d = 0; d < begin.size(); ++d) {
    expected.push_back(std::max<int64_t>(end[d] - begin[d], 0));
  }
  if (tile.sizes() == at::IntArrayRef(expected)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      name, ": found shape ", ShapeString(tile), " at (",
      absl::StrJoin(begin, ", "), "), expected [",
      absl::StrJoin(expected, ", "), "] of ", metadata.ToString()));
}

absl::Status CheckDimensions(const ZarrArrayMetadata& metadata, int64_t least) {
  if (metadata.num_dimensions() >= least) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("array: found ", metadata.ToString(), ", expected ", least,
                   " or more dimensions"));
}

absl::Status CheckCount(absl::string_view name, int64_t found, int64_t extent,
                        int64_t step) {
  const int64_t expected = step < 1 ? -1 : (extent + step - 1) / step;
  if (found == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": found ", found, ", expected ", expected,
                   " of an extent of ", step, " for ", extent));
}

}  // namespace

absl::Status ZarrChunkSink::Begin(int64_t num_chunks) {
  INFLUENCE_RETURN_IF_ERROR(CheckDimensions(array_->metadata(), 1));
  return CheckCount("chunks", num_chunks, array_->metadata().shape[0],
                    chunk_rows_);
}

bool ZarrChunkSink::Wants(int64_t index) const {
  std::vector<int64_t> begin(array_->metadata().shape.size(), 0);
  begin[0] = index * chunk_rows_;
  return !array_->HasRegion(begin,
                            EndOf(array_->metadata(), begin, {chunk_rows_}));
}

absl::Status ZarrChunkSink::Add(int64_t index, const at::Tensor& chunk) {
  std::vector<int64_t> begin(array_->metadata().shape.size(), 0);
  begin[0] = index * chunk_rows_;
  INFLUENCE_RETURN_IF_ERROR(
      CheckTile("chunk", array_->metadata(), begin,
                EndOf(array_->metadata(), begin, {chunk_rows_}), chunk));
  return array_->Write(begin, chunk);
}

absl::Status ZarrTileSink::Begin(int64_t row_chunks, int64_t column_chunks) {
  INFLUENCE_RETURN_IF_ERROR(CheckDimensions(array_->metadata(), 2));
  const std::vector<int64_t>& shape = array_->metadata().shape;
  INFLUENCE_RETURN_IF_ERROR(
      CheckCount("rows of tiles", row_chunks, shape[0], tile_rows_));
  return CheckCount("columns of tiles", column_chunks, shape[1], tile_columns_);
}

bool ZarrTileSink::Wants(int64_t row, int64_t column) const {
  std::vector<int64_t> begin(array_->metadata().shape.size(), 0);
  begin[0] = row * tile_rows_;
  begin[1] = column * tile_columns_;
  return !array_->HasRegion(
      begin, EndOf(array_->metadata(), begin, {tile_rows_, tile_columns_}));
}

absl::Status ZarrTileSink::Add(int64_t row, int64_t column,
                               const at::Tensor& tile) {
  std::vector<int64_t> begin(array_->metadata().shape.size(), 0);
  begin[0] = row * tile_rows_;
  begin[1] = column * tile_columns_;
  INFLUENCE_RETURN_IF_ERROR(CheckTile(
      "tile", array_->metadata(), begin,
      EndOf(array_->metadata(), begin, {tile_rows_, tile_columns_}), tile));
  if (scale_ == 1) return array_->Write(begin, tile);
  INFLUENCE_ASSIGN_OR_RETURN(
      const at::Tensor scaled,
      CatchTorch("tile", [&]() -> absl::StatusOr<at::Tensor> {
        return tile.detach().mul(scale_);
      }));
  return array_->Write(begin, scaled);
}

absl::StatusOr<ZarrArrayMetadata> ZarrMetadataForTiles(
    const std::vector<int64_t>& shape, const at::Tensor& first,
    const ZarrOptions& options) {
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined("first chunk", first));
  if (first.dim() != static_cast<int64_t>(shape.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat("first chunk: found shape ", ShapeString(first),
                     ", expected ", shape.size(), " dimensions"));
  }
  ZarrArrayMetadata metadata;
  metadata.shape = shape;
  metadata.chunk_shape = ZarrChunkShapeForTiles(
      shape, first.sizes(), static_cast<int64_t>(first.element_size()));
  metadata.dtype = first.scalar_type();
  metadata.zstd = options.compression;
  metadata.attributes = options.attributes;
  metadata.dimension_names = options.dimension_names;
  INFLUENCE_RETURN_IF_ERROR(ValidateZarrArray("array", metadata));
  return metadata;
}

}  // namespace influence
