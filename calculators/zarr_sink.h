// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Sinks that put the chunks or tiles of a lazy sequence into an array of a Zarr
// store (zarr_store_writer.h). What is there already, from a run that was
// stopped, is not asked for again. All chunks, or tiles of a row or column, are
// of the same extent but for the last; a smaller one in between is an error.
#ifndef INFLUENCE_CALCULATORS_ZARR_SINK_H_
#define INFLUENCE_CALCULATORS_ZARR_SINK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "base/progress.h"
#include "calculators/chunk_sink.h"
#include "calculators/zarr_format.h"
#include "calculators/zarr_store_writer.h"

namespace influence {

// How ToZarr() writes.
struct ZarrOptions {
  // Replace a store that exists, in one step at the end, and what an unfinished
  // run has left.
  bool overwrite = false;
  ZstdCodec compression = {};
  ZarrAttributes attributes = ZarrAttributes::object();
  std::vector<std::string> dimension_names = {};  // None, or one for each.
  ProgressReporter* progress = nullptr;  // Borrowed; a step a chunk or tile.
};

// Chunks along dimension 0. Thread-safe: Add() may be called concurrently and
// in any order. The caller commits the store.
class ZarrChunkSink : public ChunkSink {
 public:
  // Borrows `array`, which must outlive this object. chunk_rows >= 1: of every
  // chunk but the last; a multiple of the array's chunk_shape[0].
  ZarrChunkSink(ZarrArrayWriter* array, int64_t chunk_rows)
      : array_(array), chunk_rows_(chunk_rows) {}

  absl::Status Begin(int64_t num_chunks) override;
  bool Wants(int64_t index) const override;
  bool TakesAnyOrder() const override { return true; }
  absl::Status Add(int64_t index, const at::Tensor& chunk) override;

 private:
  ZarrArrayWriter* array_;
  int64_t chunk_rows_;
};

// Tiles along dimensions 0 and 1, every value multiplied by `scale`. As
// ZarrChunkSink.
class ZarrTileSink : public TileSink {
 public:
  ZarrTileSink(ZarrArrayWriter* array, int64_t tile_rows, int64_t tile_columns,
               double scale = 1)
      : array_(array),
        tile_rows_(tile_rows),
        tile_columns_(tile_columns),
        scale_(scale) {}

  absl::Status Begin(int64_t row_chunks, int64_t column_chunks) override;
  bool Wants(int64_t row, int64_t column) const override;
  bool TakesAnyOrder() const override { return true; }
  absl::Status Add(int64_t row, int64_t column,
                   const at::Tensor& tile) override;

 private:
  ZarrArrayWriter* array_;
  int64_t tile_rows_;
  int64_t tile_columns_;
  double scale_;
};

// The metadata of an array of `shape` that is written in chunks or tiles like
// `first`: its dtype, and chunks that are these tiles, or parts of them where
// they are large. kInvalidArgument if the options do not fit.
absl::StatusOr<ZarrArrayMetadata> ZarrMetadataForTiles(
    const std::vector<int64_t>& shape, const at::Tensor& first,
    const ZarrOptions& options);

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_ZARR_SINK_H_
