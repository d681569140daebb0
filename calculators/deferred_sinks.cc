// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/deferred_sinks.h"

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/validators.h"
#include "calculators/npy_file.h"
#include "calculators/zarr_format.h"
#include "calculators/zarr_sink.h"
#include "calculators/zarr_store_writer.h"

namespace influence {
namespace {

absl::Status ValidateChunk(const at::Tensor& chunk) {
  if (chunk.dim() > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "chunk: found shape [], expected at least one dimension");
}

absl::Status ValidateTile(const at::Tensor& tile) {
  if (tile.dim() > 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("tile: found shape ", ShapeString(tile),
                   ", expected at least two dimensions"));
}

}  // namespace

absl::Status DeferredNpyChunkSink::Begin(int64_t /*num_chunks*/) {
  return absl::OkStatus();
}

absl::Status DeferredNpyChunkSink::Add(int64_t index, const at::Tensor& chunk) {
  if (writer_ == nullptr) {
    INFLUENCE_RETURN_IF_ERROR(ValidateChunk(chunk));
    std::vector<int64_t> shape = chunk.sizes().vec();
    shape[0] = num_rows_;
    INFLUENCE_ASSIGN_OR_RETURN(
        writer_,
        NpyWriter::Create(path_, shape, chunk.scalar_type(), overwrite_));
    sink_.emplace(writer_.get());
  }
  return sink_->Add(index, chunk);
}

absl::Status DeferredNpyTileSink::Begin(int64_t /*row_chunks*/,
                                        int64_t /*column_chunks*/) {
  return absl::OkStatus();
}

absl::Status DeferredNpyTileSink::Add(int64_t row, int64_t column,
                                      const at::Tensor& tile) {
  if (writer_ == nullptr) {
    INFLUENCE_RETURN_IF_ERROR(ValidateTile(tile));
    std::vector<int64_t> shape = tile.sizes().vec();
    shape[0] = num_rows_;
    shape[1] = num_columns_;
    INFLUENCE_ASSIGN_OR_RETURN(
        writer_,
        NpyWriter::Create(path_, shape, tile.scalar_type(), overwrite_));
    sink_.emplace(writer_.get());
  }
  return sink_->Add(row, column, tile);
}

absl::Status DeferredZarrChunkSink::Begin(int64_t num_chunks) {
  num_chunks_ = num_chunks;
  return absl::OkStatus();
}

absl::Status DeferredZarrChunkSink::Describe(const at::Tensor& chunk) {
  INFLUENCE_RETURN_IF_ERROR(ValidateChunk(chunk));
  std::vector<int64_t> shape = chunk.sizes().vec();
  shape[0] = num_rows_;
  INFLUENCE_ASSIGN_OR_RETURN(const ZarrArrayMetadata metadata,
                             ZarrMetadataForTiles(shape, chunk, options_));
  INFLUENCE_ASSIGN_OR_RETURN(ZarrArrayWriter* const array,
                             store_->AddArray("", metadata));
  sink_.emplace(array, chunk.size(0));
  return sink_->Begin(num_chunks_);
}

absl::Status DeferredZarrChunkSink::Add(int64_t index,
                                        const at::Tensor& chunk) {
  if (!sink_.has_value()) INFLUENCE_RETURN_IF_ERROR(Describe(chunk));
  return sink_->Add(index, chunk);
}

absl::Status DeferredZarrTileSink::Begin(int64_t row_chunks,
                                         int64_t column_chunks) {
  row_chunks_ = row_chunks;
  column_chunks_ = column_chunks;
  return absl::OkStatus();
}

absl::Status DeferredZarrTileSink::Describe(const at::Tensor& tile) {
  INFLUENCE_RETURN_IF_ERROR(ValidateTile(tile));
  std::vector<int64_t> shape = tile.sizes().vec();
  shape[0] = num_rows_;
  shape[1] = num_columns_;
  INFLUENCE_ASSIGN_OR_RETURN(const ZarrArrayMetadata metadata,
                             ZarrMetadataForTiles(shape, tile, options_));
  INFLUENCE_ASSIGN_OR_RETURN(ZarrArrayWriter* const array,
                             store_->AddArray("", metadata));
  sink_.emplace(array, tile.size(0), tile.size(1));
  return sink_->Begin(row_chunks_, column_chunks_);
}

absl::Status DeferredZarrTileSink::Add(int64_t row, int64_t column,
                                       const at::Tensor& tile) {
  if (!sink_.has_value()) INFLUENCE_RETURN_IF_ERROR(Describe(tile));
  return sink_->Add(row, column, tile);
}

}  // namespace influence
