// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Sinks for a file or an array that is made as soon as the first chunk tells
// its trailing shape and dtype.
#ifndef INFLUENCE_CALCULATORS_DEFERRED_SINKS_H_
#define INFLUENCE_CALCULATORS_DEFERRED_SINKS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "calculators/chunk_sink.h"
#include "calculators/npy_file.h"
#include "calculators/npy_sink.h"
#include "calculators/zarr_sink.h"
#include "calculators/zarr_store_writer.h"

namespace influence {

// Writes num_rows rows to a .npy file at `path`.
class DeferredNpyChunkSink : public ChunkSink {
 public:
  DeferredNpyChunkSink(std::string path, bool overwrite, int64_t num_rows)
      : path_(std::move(path)), overwrite_(overwrite), num_rows_(num_rows) {}

  absl::Status Begin(int64_t num_chunks) override;
  absl::Status Add(int64_t index, const at::Tensor& chunk) override;

  // After the last Add().
  absl::Status Commit() { return writer_->Commit(); }

 private:
  const std::string path_;
  const bool overwrite_;
  const int64_t num_rows_;
  std::unique_ptr<NpyWriter> writer_;
  std::optional<NpyChunkSink> sink_;
};

// The same for tiles of [num_rows, num_columns, ...].
class DeferredNpyTileSink : public TileSink {
 public:
  DeferredNpyTileSink(std::string path, bool overwrite, int64_t num_rows,
                      int64_t num_columns)
      : path_(std::move(path)),
        overwrite_(overwrite),
        num_rows_(num_rows),
        num_columns_(num_columns) {}

  absl::Status Begin(int64_t row_chunks, int64_t column_chunks) override;
  absl::Status Add(int64_t row, int64_t column,
                   const at::Tensor& tile) override;

  absl::Status Commit() { return writer_->Commit(); }

 private:
  const std::string path_;
  const bool overwrite_;
  const int64_t num_rows_;
  const int64_t num_columns_;
  std::unique_ptr<NpyWriter> writer_;
  std::optional<NpyTileSink> sink_;
};

// Writes to an array at the root of a store. Borrows store and options, which
// must outlive this object.
class DeferredZarrChunkSink : public ChunkSink {
 public:
  DeferredZarrChunkSink(ZarrStoreWriter* store, const ZarrOptions& options,
                        int64_t num_rows)
      : store_(store), options_(options), num_rows_(num_rows) {}

  absl::Status Begin(int64_t num_chunks) override;

  // Makes the array, from a chunk that is not a short last one. Add() does so
  // where nobody has.
  absl::Status Describe(const at::Tensor& chunk);

  bool Wants(int64_t index) const override {
    return !sink_.has_value() || sink_->Wants(index);
  }
  bool TakesAnyOrder() const override { return sink_.has_value(); }
  absl::Status Add(int64_t index, const at::Tensor& chunk) override;

 private:
  ZarrStoreWriter* const store_;
  const ZarrOptions& options_;
  const int64_t num_rows_;
  int64_t num_chunks_ = 0;
  std::optional<ZarrChunkSink> sink_;
};

// The same for tiles.
class DeferredZarrTileSink : public TileSink {
 public:
  DeferredZarrTileSink(ZarrStoreWriter* store, const ZarrOptions& options,
                       int64_t num_rows, int64_t num_columns)
      : store_(store),
        options_(options),
        num_rows_(num_rows),
        num_columns_(num_columns) {}

  absl::Status Begin(int64_t row_chunks, int64_t column_chunks) override;
  absl::Status Describe(const at::Tensor& tile);
  bool Wants(int64_t row, int64_t column) const override {
    return !sink_.has_value() || sink_->Wants(row, column);
  }
  bool TakesAnyOrder() const override { return sink_.has_value(); }
  absl::Status Add(int64_t row, int64_t column,
                   const at::Tensor& tile) override;

 private:
  ZarrStoreWriter* const store_;
  const ZarrOptions& options_;
  const int64_t num_rows_;
  const int64_t num_columns_;
  int64_t row_chunks_ = 0;
  int64_t column_chunks_ = 0;
  std::optional<ZarrTileSink> sink_;
};

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_DEFERRED_SINKS_H_
