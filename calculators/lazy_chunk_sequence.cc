// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/lazy_chunk_sequence.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/broadcast.h"
#include "base/communicator.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "calculators/chunk_sink.h"
#include "calculators/deferred_sinks.h"
#include "calculators/distributed_tile_schedule.h"
#include "calculators/folder_writer.h"
#include "calculators/npy_file.h"
#include "calculators/rank_chunks.h"
#include "calculators/tile_schedule.h"
#include "calculators/tile_workers.h"
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

// Who replaces a result does not want an unfinished one either.
FolderWriterOptions FolderOptions(const ZarrOptions& options) {
  FolderWriterOptions folder_options;
  folder_options.overwrite = options.overwrite;
  if (options.overwrite) folder_options.unfinished = UnfinishedRun::kDiscard;
  return folder_options;
}

// For ranks that do not write.
class NoChunkSink : public ChunkSink {
 public:
  absl::Status Begin(int64_t /*num_chunks*/) override {
    return absl::OkStatus();
  }
  absl::Status Add(int64_t /*index*/, const at::Tensor& /*chunk*/) override {
    return absl::OkStatus();
  }
};

class NoTileSink : public TileSink {
 public:
  absl::Status Begin(int64_t /*row_chunks*/,
                     int64_t /*column_chunks*/) override {
    return absl::OkStatus();
  }
  absl::Status Add(int64_t /*row*/, int64_t /*column*/,
                   const at::Tensor& /*tile*/) override {
    return absl::OkStatus();
  }
};

// Calls `write`, and says whether this process is the one that writes; with
// ranks all of them do so together, and have its status.
absl::Status WriteNpy(const std::string& path, const NpyOptions& options,
                      const std::optional<RankOptions>& ranks,
                      absl::FunctionRef<absl::Status(bool is_writer)> write) {
  Communicator* const communicator =
      ranks.has_value() ? ranks->communicator.get() : nullptr;
  const bool is_writer = communicator == nullptr || communicator->rank() == 0;
  absl::Status writable;
  if (is_writer) writable = CheckWritable(path, options.overwrite);
  if (communicator == nullptr) {
    INFLUENCE_RETURN_IF_ERROR(writable);
    return write(is_writer);
  }
  INFLUENCE_RETURN_IF_ERROR(BroadcastStatus(*communicator, writable, 0));
  INFLUENCE_RETURN_IF_ERROR(write(is_writer));
  return communicator->Barrier();
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

LazyChunkSequence LazyChunkSequence::WithRanks(
    const RankOptions& options) const {
  LazyChunkSequence sequence = *this;
  sequence.workers_.reset();
  sequence.ranks_ = options;
  return sequence;
}

absl::StatusOr<TileWork::DeliverFunction> LazyChunkSequence::Compute(
    int64_t index, ChunkSink& sink) const {
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor chunk, Get(index));
  return [this, index, &sink, chunk = std::move(chunk)] {
    return Deliver(index, chunk, sink);
  };
}

absl::Status LazyChunkSequence::Deliver(int64_t index, const at::Tensor& chunk,
                                        ChunkSink& sink) const {
  absl::Status status =
      CatchTorch("computing", [&] { return sink.Add(index, chunk); });
  if (status.ok()) return status;
  return Annotate(status,
                  absl::StrCat(name_, " chunk ", index, " of ", num_chunks_));
}

absl::Status LazyChunkSequence::ForEachByWorkers(ChunkSink& sink,
                                                 ProgressStage* stage) const {
  std::vector<bool> wanted(num_chunks_);
  for (int64_t i = 0; i < num_chunks_; ++i) wanted[i] = sink.Wants(i);
  CounterTileSchedule schedule(num_chunks_);
  return RunWorkers(
      schedule, *workers_,
      [&](int64_t index, int64_t) { return wanted[index]; }, sink, stage);
}

absl::Status LazyChunkSequence::RunWorkers(
    TileSchedule& schedule, const WorkerOptions& workers,
    const std::function<bool(int64_t, int64_t)>& wants, ChunkSink& sink,
    ProgressStage* stage) const {
  TileWork work;
  work.rows = num_chunks_;
  work.columns = 1;
  work.wants = wants;
  work.open_row =
      [&](int64_t index) -> absl::StatusOr<TileWork::ComputeFunction> {
    return [this, index, &sink](int64_t) { return Compute(index, sink); };
  };
  work.takes_any_order = [&] { return sink.TakesAnyOrder(); };
  return Named(name_, RunTileWorkers(work, schedule, workers, stage));
}

absl::Status LazyChunkSequence::ForEachByRanks(ChunkSink& sink,
                                               ProgressStage* stage) const {
  Communicator& communicator = *ranks_->communicator;
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::vector<int64_t> wanted,
      WantedOnFirstRank(communicator, num_chunks_,
                        [&](int64_t index) { return sink.Wants(index); }));
  stage->Advance(num_chunks_ - static_cast<int64_t>(wanted.size()));
  if (ranks_->together) {
    for (const int64_t index : wanted) {
      INFLUENCE_ASSIGN_OR_RETURN(const TileWork::DeliverFunction deliver,
                                 Compute(index, sink));
      INFLUENCE_RETURN_IF_ERROR(deliver());
      stage->Advance();
    }
    return absl::OkStatus();
  }
  return ComputeInTurns(
      communicator, wanted, [&](int64_t index) { return Get(index); },
      [&](int64_t index, const at::Tensor& chunk) -> absl::Status {
        absl::Status status = Deliver(index, chunk, sink);
        if (status.ok()) stage->Advance();
        return status;
      });
}

absl::Status LazyChunkSequence::ToSharedZarr(const std::string& path,
                                             const ZarrOptions& options) const {
  Communicator& communicator = *ranks_->communicator;
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::unique_ptr<ZarrStoreWriter> store,
      CreateSharedStore(communicator, path, options.overwrite));
  ProgressStage stage(options.progress, name_, num_chunks_, "chunks");
  // The first rank computes the first chunk, which tells all what the array is.
  const bool is_first = communicator.rank() == 0;
  at::Tensor first;
  if (is_first || ranks_->together) {
    INFLUENCE_ASSIGN_OR_RETURN(first, Get(0));
  }
  INFLUENCE_ASSIGN_OR_RETURN(first, BroadcastTensor(communicator, first, 0));
  DeferredZarrChunkSink sink(store.get(), options, num_rows_);
  INFLUENCE_RETURN_IF_ERROR(sink.Begin(num_chunks_));
  INFLUENCE_RETURN_IF_ERROR(sink.Describe(first));
  if (is_first) INFLUENCE_RETURN_IF_ERROR(Deliver(0, first, sink));
  first.reset();
  INFLUENCE_RETURN_IF_ERROR(communicator.Barrier());
  if (ranks_->together) {
    stage.Advance();
    for (int64_t index = 1; index < num_chunks_; ++index) {
      INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor chunk, Get(index));
      if (is_first) INFLUENCE_RETURN_IF_ERROR(Deliver(index, chunk, sink));
      stage.Advance();
    }
  } else {
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::unique_ptr<DistributedTileSchedule> schedule,
        DistributedTileSchedule::Create(communicator, num_chunks_));
    INFLUENCE_RETURN_IF_ERROR(RunWorkers(
        *schedule, ranks_->workers,
        [&](int64_t index, int64_t) { return sink.Wants(index); }, sink,
        &stage));
  }
  return CommitSharedStore(communicator, *store);
}

absl::Status LazyChunkSequence::ForEach(ChunkSink& sink,
                                        ProgressReporter* progress) const {
  INFLUENCE_RETURN_IF_ERROR(sink.Begin(num_chunks_));
  ProgressStage stage(progress, name_, num_chunks_, "chunks");
  if (ranks_.has_value()) return ForEachByRanks(sink, &stage);
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
  return WriteNpy(path, options, ranks_, [&](bool is_writer) -> absl::Status {
    if (!is_writer) {
      NoChunkSink nowhere;
      return ForEach(nowhere, options.progress);
    }
    DeferredNpyChunkSink sink(path, options.overwrite, num_rows_);
    INFLUENCE_RETURN_IF_ERROR(ForEach(sink, options.progress));
    return sink.Commit();
  });
}

absl::Status LazyChunkSequence::ToZarr(const std::string& path,
                                       const ZarrOptions& options) const {
  if (num_chunks_ == 0) return NoChunks(name_);
  if (ranks_.has_value()) return ToSharedZarr(path, options);
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

NestedLazyChunkSequence NestedLazyChunkSequence::WithRanks(
    const RankOptions& options) const {
  NestedLazyChunkSequence sequence = *this;
  sequence.workers_.reset();
  sequence.ranks_ = options;
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

absl::Status NestedLazyChunkSequence::InTile(const absl::Status& status,
                                             int64_t row,
                                             int64_t column) const {
  if (status.ok()) return status;
  return Annotate(status,
                  absl::StrCat(name_, " tile (", row, ", ", column, ") of ",
                               row_chunks_, " x ", column_chunks_));
}

absl::StatusOr<at::Tensor> NestedLazyChunkSequence::ComputeTile(
    const TileFunction& tile_function, int64_t row, int64_t column) const {
  absl::StatusOr<at::Tensor> computed =
      ComputeChunk(name_, [&] { return tile_function(column); });
  if (!computed.ok()) return InTile(computed.status(), row, column);
  return computed;
}

absl::Status NestedLazyChunkSequence::Deliver(int64_t row, int64_t column,
                                              const at::Tensor& tile,
                                              TileSink& sink) const {
  return InTile(
      CatchTorch("computing", [&] { return sink.Add(row, column, tile); }), row,
      column);
}

absl::StatusOr<TileWork::DeliverFunction> NestedLazyChunkSequence::Compute(
    const TileFunction& tile_function, int64_t row, int64_t column,
    TileSink& sink) const {
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor tile,
                             ComputeTile(tile_function, row, column));
  return [this, row, column, &sink, tile = std::move(tile)] {
    return Deliver(row, column, tile, sink);
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
  CounterTileSchedule schedule(row_chunks_ * column_chunks_);
  return RunWorkers(
      schedule, *workers_,
      [&](int64_t row, int64_t column) {
        return wanted[row * column_chunks_ + column];
      },
      sink, stage);
}

absl::Status NestedLazyChunkSequence::RunWorkers(
    TileSchedule& schedule, const WorkerOptions& workers,
    const std::function<bool(int64_t, int64_t)>& wants, TileSink& sink,
    ProgressStage* stage) const {
  TileWork work;
  work.rows = row_chunks_;
  work.columns = column_chunks_;
  work.wants = wants;
  work.open_row =
      [&](int64_t row) -> absl::StatusOr<TileWork::ComputeFunction> {
    INFLUENCE_ASSIGN_OR_RETURN(TileFunction tile_function, OpenRow(row));
    return [this, row, &sink,
            tile_function = std::move(tile_function)](int64_t column) {
      return Compute(tile_function, row, column, sink);
    };
  };
  work.takes_any_order = [&] { return sink.TakesAnyOrder(); };
  return Named(name_, RunTileWorkers(work, schedule, workers, stage));
}

absl::Status NestedLazyChunkSequence::ForEachByRanks(
    TileSink& sink, ProgressStage* stage) const {
  Communicator& communicator = *ranks_->communicator;
  for (int64_t row = 0; row < row_chunks_; ++row) {
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::vector<int64_t> wanted,
        WantedOnFirstRank(communicator, column_chunks_, [&](int64_t column) {
          return sink.Wants(row, column);
        }));
    stage->Advance(column_chunks_ - static_cast<int64_t>(wanted.size()));
    if (wanted.empty()) continue;
    INFLUENCE_ASSIGN_OR_RETURN(const TileFunction tile_function, OpenRow(row));
    const auto compute = [&](int64_t column) {
      return ComputeTile(tile_function, row, column);
    };
    const auto deliver = [&](int64_t column,
                             const at::Tensor& tile) -> absl::Status {
      absl::Status status = Deliver(row, column, tile, sink);
      if (status.ok()) stage->Advance();
      return status;
    };
    INFLUENCE_RETURN_IF_ERROR(
        ComputeInTurns(communicator, wanted, compute, deliver));
  }
  return absl::OkStatus();
}

absl::Status NestedLazyChunkSequence::ToSharedZarr(
    const std::string& path, const ZarrOptions& options) const {
  Communicator& communicator = *ranks_->communicator;
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::unique_ptr<ZarrStoreWriter> store,
      CreateSharedStore(communicator, path, options.overwrite));
  ProgressStage stage(options.progress, name_, row_chunks_ * column_chunks_,
                      "tiles");
  // The first rank computes the first tile, which tells all what the array is.
  const bool is_first = communicator.rank() == 0;
  TileFunction of_row;
  if (is_first || ranks_->together) {
    INFLUENCE_ASSIGN_OR_RETURN(of_row, OpenRow(0));
  }
  at::Tensor first;
  if (is_first) {
    INFLUENCE_ASSIGN_OR_RETURN(first, ComputeTile(of_row, 0, 0));
  }
  INFLUENCE_ASSIGN_OR_RETURN(first, BroadcastTensor(communicator, first, 0));
  DeferredZarrTileSink sink(store.get(), options, num_rows_, num_columns_);
  INFLUENCE_RETURN_IF_ERROR(sink.Begin(row_chunks_, column_chunks_));
  INFLUENCE_RETURN_IF_ERROR(sink.Describe(first));
  if (is_first) INFLUENCE_RETURN_IF_ERROR(Deliver(0, 0, first, sink));
  first.reset();
  INFLUENCE_RETURN_IF_ERROR(communicator.Barrier());
  if (!ranks_->together) {
    of_row = nullptr;
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::unique_ptr<DistributedTileSchedule> schedule,
        DistributedTileSchedule::Create(
            communicator, row_chunks_ * column_chunks_,
            row_chunks_ >= communicator.size() ? column_chunks_ : 1));
    INFLUENCE_RETURN_IF_ERROR(RunWorkers(
        *schedule, ranks_->workers,
        [&](int64_t row, int64_t column) { return sink.Wants(row, column); },
        sink, &stage));
    return CommitSharedStore(communicator, *store);
  }
  for (int64_t row = 0; row < row_chunks_; ++row) {
    if (row > 0) {
      of_row = nullptr;  // Its memory first.
      INFLUENCE_ASSIGN_OR_RETURN(of_row, OpenRow(row));
    }
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::unique_ptr<DistributedTileSchedule> schedule,
        DistributedTileSchedule::Create(communicator, column_chunks_));
    for (int64_t reached = 0; reached < column_chunks_;) {
      INFLUENCE_ASSIGN_OR_RETURN(const std::optional<int64_t> column,
                                 schedule->Next());
      if (column.has_value() && sink.Wants(row, *column)) {
        INFLUENCE_ASSIGN_OR_RETURN(const TileWork::DeliverFunction deliver,
                                   Compute(of_row, row, *column, sink));
        INFLUENCE_RETURN_IF_ERROR(deliver());
      }
      // Those in between are the others'.
      const int64_t next = column.has_value() ? *column + 1 : column_chunks_;
      stage.Advance(next - reached);
      reached = next;
    }
  }
  return CommitSharedStore(communicator, *store);
}

absl::Status NestedLazyChunkSequence::ForEach(
    TileSink& sink, ProgressReporter* progress) const {
  INFLUENCE_RETURN_IF_ERROR(sink.Begin(row_chunks_, column_chunks_));
  ProgressStage stage(progress, name_, row_chunks_ * column_chunks_, "tiles");
  if (ranks_.has_value()) return ForEachByRanks(sink, &stage);
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
  return WriteNpy(path, options, ranks_, [&](bool is_writer) -> absl::Status {
    if (!is_writer) {
      NoTileSink nowhere;
      return ForEach(nowhere, options.progress);
    }
    DeferredNpyTileSink sink(path, options.overwrite, num_rows_, num_columns_);
    INFLUENCE_RETURN_IF_ERROR(ForEach(sink, options.progress));
    return sink.Commit();
  });
}

absl::Status NestedLazyChunkSequence::ToZarr(const std::string& path,
                                             const ZarrOptions& options) const {
  if (row_chunks_ == 0 || column_chunks_ == 0) return NoChunks(name_);
  if (ranks_.has_value()) return ToSharedZarr(path, options);
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::unique_ptr<ZarrStoreWriter> store,
      ZarrStoreWriter::Create(path, FolderOptions(options)));
  DeferredZarrTileSink sink(store.get(), options, num_rows_, num_columns_);
  INFLUENCE_RETURN_IF_ERROR(ForEach(sink, options.progress));
  return store->Commit();
}

}  // namespace influence
