// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/lazy_chunk_sequence.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "calculators/chunk_sink.h"
#include "calculators/folder_writer.h"
#include "calculators/npy_file.h"
#include "calculators/npy_sink.h"
#include "calculators/tile_schedule.h"
#include "calculators/tile_workers.h"
#include "calculators/zarr_format.h"
#include "calculators/zarr_sink.h"
#include "calculators/zarr_store_writer.h"

namespace influence {
namespace {

absl::Status Annotate(const absl::Status& status, absl::string_view where) {
  return absl::Status(status.code(),
                      absl::StrCat(where, ": ", status.message()));
}

// Runs a caller's function, which may throw whatever LibTorch throws, and
// checks that there is a tensor in its result.
template <typename Function>
absl::StatusOr<at::Tensor> ComputeChunk(absl::string_view name,
                                        const Function& function) {
  absl::StatusOr<at::Tensor> chunk = CatchTorch("computing", function);
  if (chunk.ok()) INFLUENCE_RETURN_IF_ERROR(ValidateDefined(name, *chunk));
  return chunk;
}

// Says what was cancelled; errors of chunks say it themselves.
absl::Status Named(absl::string_view name, const absl::Status& status) {
  return absl::IsCancelled(status) ? Annotate(status, name) : status;
}

// Fails as writing to `path` would, before there is anything to write.
absl::Status CheckWritable(const std::string& path, bool overwrite) {
  return NpyWriter::Create(path, {1}, at::kFloat, overwrite).status();
}

// Opens the file as soon as the first chunk tells trailing shape and dtype.
class DeferredChunkSink : public ChunkSink {
 public:
  DeferredChunkSink(std::string path, bool overwrite, int64_t num_rows)
      : path_(std::move(path)), overwrite_(overwrite), num_rows_(num_rows) {}

  absl::Status Begin(int64_t /*num_chunks*/) override {
    return absl::OkStatus();
  }

  absl::Status Add(int64_t index, const at::Tensor& chunk) override {
    if (writer_ == nullptr) {
      if (chunk.dim() == 0) {
        return absl::InvalidArgumentError(
            "chunk: found shape [], expected at least one dimension");
      }
      std::vector<int64_t> shape = chunk.sizes().vec();
      shape[0] = num_rows_;
      INFLUENCE_ASSIGN_OR_RETURN(
          writer_,
          NpyWriter::Create(path_, shape, chunk.scalar_type(), overwrite_));
      sink_.emplace(writer_.get());
    }
    return sink_->Add(index, chunk);
  }

  absl::Status Commit() { return writer_->Commit(); }

 private:
  const std::string path_;
  const bool overwrite_;
  const int64_t num_rows_;
  std::unique_ptr<NpyWriter> writer_;
  std::optional<NpyChunkSink> sink_;
};

class DeferredTileSink : public TileSink {
 public:
  DeferredTileSink(std::string path, bool overwrite, int64_t num_rows,
                   int64_t num_columns)
      : path_(std::move(path)),
        overwrite_(overwrite),
        num_rows_(num_rows),
        num_columns_(num_columns) {}

  absl::Status Begin(int64_t /*row_chunks*/,
                     int64_t /*column_chunks*/) override {
    return absl::OkStatus();
  }

  absl::Status Add(int64_t row, int64_t column,
                   const at::Tensor& tile) override {
    if (writer_ == nullptr) {
      if (tile.dim() < 2) {
        return absl::InvalidArgumentError(
            absl::StrCat("tile: found shape ", ShapeString(tile),
                         ", expected at least two dimensions"));
      }
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

  absl::Status Commit() { return writer_->Commit(); }

 private:
  const std::string path_;
  const bool overwrite_;
  const int64_t num_rows_;
  const int64_t num_columns_;
  std::unique_ptr<NpyWriter> writer_;
  std::optional<NpyTileSink> sink_;
};

// Describes the array as soon as the first chunk tells trailing shape and
// dtype.
class DeferredZarrChunkSink : public ChunkSink {
 public:
  DeferredZarrChunkSink(ZarrStoreWriter* store, const ZarrOptions& options,
                        int64_t num_rows)
      : store_(store), options_(options), num_rows_(num_rows) {}

  absl::Status Begin(int64_t num_chunks) override {
    num_chunks_ = num_chunks;
    return absl::OkStatus();
  }

  absl::Status Add(int64_t index, const at::Tensor& chunk) override {
    if (!sink_.has_value()) {
      if (chunk.dim() == 0) {
        return absl::InvalidArgumentError(
            "chunk: found shape [], expected at least one dimension");
      }
      std::vector<int64_t> shape = chunk.sizes().vec();
      shape[0] = num_rows_;
      INFLUENCE_ASSIGN_OR_RETURN(const ZarrArrayMetadata metadata,
                                 ZarrMetadataForTiles(shape, chunk, options_));
      INFLUENCE_ASSIGN_OR_RETURN(ZarrArrayWriter* const array,
                                 store_->AddArray("", metadata));
      sink_.emplace(array, chunk.size(0));
      INFLUENCE_RETURN_IF_ERROR(sink_->Begin(num_chunks_));
    }
    return sink_->Add(index, chunk);
  }

  bool TakesAnyOrder() const override { return sink_.has_value(); }

 private:
  ZarrStoreWriter* const store_;
  const ZarrOptions& options_;
  const int64_t num_rows_;
  int64_t num_chunks_ = 0;
  std::optional<ZarrChunkSink> sink_;
};

class DeferredZarrTileSink : public TileSink {
 public:
  DeferredZarrTileSink(ZarrStoreWriter* store, const ZarrOptions& options,
                       int64_t num_rows, int64_t num_columns)
      : store_(store),
        options_(options),
        num_rows_(num_rows),
        num_columns_(num_columns) {}

  absl::Status Begin(int64_t row_chunks, int64_t column_chunks) override {
    row_chunks_ = row_chunks;
    column_chunks_ = column_chunks;
    return absl::OkStatus();
  }

  absl::Status Add(int64_t row, int64_t column,
                   const at::Tensor& tile) override {
    if (!sink_.has_value()) {
      if (tile.dim() < 2) {
        return absl::InvalidArgumentError(
            absl::StrCat("tile: found shape ", ShapeString(tile),
                         ", expected at least two dimensions"));
      }
      std::vector<int64_t> shape = tile.sizes().vec();
      shape[0] = num_rows_;
      shape[1] = num_columns_;
      INFLUENCE_ASSIGN_OR_RETURN(const ZarrArrayMetadata metadata,
                                 ZarrMetadataForTiles(shape, tile, options_));
      INFLUENCE_ASSIGN_OR_RETURN(ZarrArrayWriter* const array,
                                 store_->AddArray("", metadata));
      sink_.emplace(array, tile.size(0), tile.size(1));
      INFLUENCE_RETURN_IF_ERROR(sink_->Begin(row_chunks_, column_chunks_));
    }
    return sink_->Add(row, column, tile);
  }

  bool TakesAnyOrder() const override { return sink_.has_value(); }

 private:
  ZarrStoreWriter* const store_;
  const ZarrOptions& options_;
  const int64_t num_rows_;
  const int64_t num_columns_;
  int64_t row_chunks_ = 0;
  int64_t column_chunks_ = 0;
  std::optional<ZarrTileSink> sink_;
};

// Who replaces a result does not want an unfinished one either.
FolderWriterOptions FolderOptions(const ZarrOptions& options) {
  FolderWriterOptions folder_options;
  folder_options.overwrite = options.overwrite;
  if (options.overwrite) folder_options.unfinished = UnfinishedRun::kDiscard;
  return folder_options;
}

absl::Status NoChunks(absl::string_view name) {
  return absl::FailedPreconditionError(
      absl::StrCat(name, ": found no chunks, expected at least one"));
}

}  // namespace

LazyChunkSequence::LazyChunkSequence(std::string name, int64_t num_chunks,
                                     int64_t num_rows, ChunkFunction chunk)
    : name_(std::move(name)),
      num_chunks_(num_chunks),
      num_rows_(num_rows),
      chunk_(std::move(chunk)) {}

absl::StatusOr<at::Tensor> LazyChunkSequence::Get(int64_t index) const {
  if (index < 0 || index >= num_chunks_) {
    return absl::OutOfRangeError(absl::StrCat(
        name_, ": found chunk ", index, ", expected [0, ", num_chunks_, ")"));
  }
  absl::StatusOr<at::Tensor> chunk =
      ComputeChunk(name_, [&] { return chunk_(index); });
  if (!chunk.ok()) {
    return Annotate(chunk.status(),
                    absl::StrCat(name_, " chunk ", index, " of ", num_chunks_));
  }
  return chunk;
}

LazyChunkSequence LazyChunkSequence::WithWorkers(
    const WorkerOptions& options) const {
  LazyChunkSequence sequence = *this;
  sequence.workers_ = options;
  return sequence;
}

absl::StatusOr<TileWork::DeliverFunction> LazyChunkSequence::Compute(
    int64_t index, ChunkSink& sink) const {
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor chunk, Get(index));
  return [this, index, &sink, chunk = std::move(chunk)] {
    absl::Status status =
        CatchTorch("computing", [&] { return sink.Add(index, chunk); });
    if (status.ok()) return status;
    return Annotate(status,
                    absl::StrCat(name_, " chunk ", index, " of ", num_chunks_));
  };
}

absl::Status LazyChunkSequence::ForEachByWorkers(ChunkSink& sink,
                                                 ProgressStage* stage) const {
  std::vector<bool> wanted(num_chunks_);
  for (int64_t i = 0; i < num_chunks_; ++i) wanted[i] = sink.Wants(i);
  TileWork work;
  work.rows = num_chunks_;
  work.columns = 1;
  work.wants = [&](int64_t index, int64_t) { return wanted[index]; };
  work.open_row =
      [&](int64_t index) -> absl::StatusOr<TileWork::ComputeFunction> {
    return [this, index, &sink](int64_t) { return Compute(index, sink); };
  };
  work.takes_any_order = [&] { return sink.TakesAnyOrder(); };
  CounterTileSchedule schedule(num_chunks_);
  return Named(name_, RunTileWorkers(work, schedule, *workers_, stage));
}

absl::Status LazyChunkSequence::ForEach(ChunkSink& sink,
                                        ProgressReporter* progress) const {
  INFLUENCE_RETURN_IF_ERROR(sink.Begin(num_chunks_));
  ProgressStage stage(progress, name_, num_chunks_, "chunks");
  if (workers_.has_value()) return ForEachByWorkers(sink, &stage);
  for (int64_t index = 0; index < num_chunks_; ++index) {
    if (sink.Wants(index)) {
      INFLUENCE_ASSIGN_OR_RETURN(const TileWork::DeliverFunction deliver,
                                 Compute(index, sink));
      INFLUENCE_RETURN_IF_ERROR(deliver());
    }
    stage.Advance();
  }
  return absl::OkStatus();
}

absl::Status LazyChunkSequence::ToNpy(const std::string& path,
                                      const NpyOptions& options) const {
  if (num_chunks_ == 0) return NoChunks(name_);
  INFLUENCE_RETURN_IF_ERROR(CheckWritable(path, options.overwrite));
  DeferredChunkSink sink(path, options.overwrite, num_rows_);
  INFLUENCE_RETURN_IF_ERROR(ForEach(sink, options.progress));
  return sink.Commit();
}

absl::Status LazyChunkSequence::ToZarr(const std::string& path,
                                       const ZarrOptions& options) const {
  if (num_chunks_ == 0) return NoChunks(name_);
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::unique_ptr<ZarrStoreWriter> store,
      ZarrStoreWriter::Create(path, FolderOptions(options)));
  DeferredZarrChunkSink sink(store.get(), options, num_rows_);
  INFLUENCE_RETURN_IF_ERROR(ForEach(sink, options.progress));
  return store->Commit();
}

NestedLazyChunkSequence::NestedLazyChunkSequence(
    std::string name, int64_t row_chunks, int64_t column_chunks,
    int64_t num_rows, int64_t num_columns, RowFunction open_row)
    : name_(std::move(name)),
      row_chunks_(row_chunks),
      column_chunks_(column_chunks),
      num_rows_(num_rows),
      num_columns_(num_columns),
      open_row_(std::move(open_row)) {}

NestedLazyChunkSequence NestedLazyChunkSequence::WithWorkers(
    const WorkerOptions& options) const {
  NestedLazyChunkSequence sequence = *this;
  sequence.workers_ = options;
  return sequence;
}

absl::StatusOr<NestedLazyChunkSequence::TileFunction>
NestedLazyChunkSequence::OpenRow(int64_t row) const {
  absl::StatusOr<TileFunction> tile_function =
      CatchTorch("computing", [&] { return open_row_(row); });
  if (tile_function.ok()) return tile_function;
  return Annotate(tile_function.status(),
                  absl::StrCat(name_, " row ", row, " of ", row_chunks_));
}

absl::StatusOr<TileWork::DeliverFunction> NestedLazyChunkSequence::Compute(
    const TileFunction& tile_function, int64_t row, int64_t column,
    TileSink& sink) const {
  const auto in_tile = [this, row, column](const absl::Status& status) {
    return Annotate(status,
                    absl::StrCat(name_, " tile (", row, ", ", column, ") of ",
                                 row_chunks_, " x ", column_chunks_));
  };
  absl::StatusOr<at::Tensor> computed =
      ComputeChunk(name_, [&] { return tile_function(column); });
  if (!computed.ok()) return in_tile(computed.status());
  return [row, column, &sink, in_tile, tile = *std::move(computed)] {
    absl::Status status =
        CatchTorch("computing", [&] { return sink.Add(row, column, tile); });
    return status.ok() ? status : in_tile(status);
  };
}

absl::Status NestedLazyChunkSequence::ForEachByWorkers(
    TileSink& sink, ProgressStage* stage) const {
  std::vector<bool> wanted(row_chunks_ * column_chunks_);
  for (int64_t row = 0; row < row_chunks_; ++row) {
    for (int64_t column = 0; column < column_chunks_; ++column) {
      wanted[row * column_chunks_ + column] = sink.Wants(row, column);
    }
  }
  TileWork work;
  work.rows = row_chunks_;
  work.columns = column_chunks_;
  work.wants = [&](int64_t row, int64_t column) {
    return wanted[row * column_chunks_ + column];
  };
  work.open_row =
      [&](int64_t row) -> absl::StatusOr<TileWork::ComputeFunction> {
    INFLUENCE_ASSIGN_OR_RETURN(TileFunction tile_function, OpenRow(row));
    return [this, row, &sink,
            tile_function = std::move(tile_function)](int64_t column) {
      return Compute(tile_function, row, column, sink);
    };
  };
  work.takes_any_order = [&] { return sink.TakesAnyOrder(); };
  CounterTileSchedule schedule(row_chunks_ * column_chunks_);
  return Named(name_, RunTileWorkers(work, schedule, *workers_, stage));
}

absl::Status NestedLazyChunkSequence::ForEach(
    TileSink& sink, ProgressReporter* progress) const {
  INFLUENCE_RETURN_IF_ERROR(sink.Begin(row_chunks_, column_chunks_));
  ProgressStage stage(progress, name_, row_chunks_ * column_chunks_, "tiles");
  if (workers_.has_value()) return ForEachByWorkers(sink, &stage);
  for (int64_t row = 0; row < row_chunks_; ++row) {
    std::vector<int64_t> columns;
    for (int64_t column = 0; column < column_chunks_; ++column) {
      if (sink.Wants(row, column)) columns.push_back(column);
    }
    const auto skipped = column_chunks_ - static_cast<int64_t>(columns.size());
    if (skipped > 0) stage.Advance(skipped);
    if (columns.empty()) continue;
    INFLUENCE_ASSIGN_OR_RETURN(const TileFunction tile_function, OpenRow(row));
    for (const int64_t column : columns) {
      INFLUENCE_ASSIGN_OR_RETURN(const TileWork::DeliverFunction deliver,
                                 Compute(tile_function, row, column, sink));
      INFLUENCE_RETURN_IF_ERROR(deliver());
      stage.Advance();
    }
  }
  return absl::OkStatus();
}

absl::Status NestedLazyChunkSequence::ToNpy(const std::string& path,
                                            const NpyOptions& options) const {
  if (row_chunks_ == 0 || column_chunks_ == 0) return NoChunks(name_);
  INFLUENCE_RETURN_IF_ERROR(CheckWritable(path, options.overwrite));
  DeferredTileSink sink(path, options.overwrite, num_rows_, num_columns_);
  INFLUENCE_RETURN_IF_ERROR(ForEach(sink, options.progress));
  return sink.Commit();
}

absl::Status NestedLazyChunkSequence::ToZarr(const std::string& path,
                                             const ZarrOptions& options) const {
  if (row_chunks_ == 0 || column_chunks_ == 0) return NoChunks(name_);
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::unique_ptr<ZarrStoreWriter> store,
      ZarrStoreWriter::Create(path, FolderOptions(options)));
  DeferredZarrTileSink sink(store.get(), options, num_rows_, num_columns_);
  INFLUENCE_RETURN_IF_ERROR(ForEach(sink, options.progress));
  return store->Commit();
}

}  // namespace influence
