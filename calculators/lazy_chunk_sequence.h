// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Results that are computed chunk by chunk, on demand. A sequence holds a
// recipe only: nothing runs until Compute(), ToNpy() or ToZarr() is called, and
// then one chunk at a time is made, handed over and let go of.
//
//   NestedLazyChunkSequence influences = calculator.Influences(test, train);
//   INFLUENCE_ASSIGN_OR_RETURN(at::Tensor s,
//                              influences.Compute(NestedCatAggregator()));
//
// Aggregators that ship are in aggregators.h, which also shows one's own. With
// WithWorkers() several threads make the chunks, a few at a time; sinks and
// reporters notice nothing of it. WithRanks() the processes of a job do.
#ifndef INFLUENCE_CALCULATORS_LAZY_CHUNK_SEQUENCE_H_
#define INFLUENCE_CALCULATORS_LAZY_CHUNK_SEQUENCE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "calculators/chunk_sink.h"
#include "calculators/rank_chunks.h"
#include "calculators/tile_schedule.h"
#include "calculators/tile_workers.h"
#include "calculators/zarr_sink.h"

namespace influence {

// Where ToNpy() writes.
struct NpyOptions {
  bool overwrite =
      false;  // Replace a file that exists, in one step at the end.
  ProgressReporter* progress = nullptr;  // Borrowed; a step a chunk or tile.
};

// Chunks along dimension 0. As thread-safe as the chunk function; every use
// computes anew.
class LazyChunkSequence {
 public:
  // Chunk `index`, a function of the index only.
  using ChunkFunction =
      std::function<absl::StatusOr<at::Tensor>(int64_t index)>;

  // `name`: what the chunks are, for messages ("factors"). `num_rows`: the sum
  // of the chunks' extents along dimension 0.
  LazyChunkSequence(std::string name, int64_t num_chunks, int64_t num_rows,
                    ChunkFunction chunk);

  const std::string& name() const { return name_; }
  int64_t num_chunks() const { return num_chunks_; }
  int64_t num_rows() const { return num_rows_; }

  // The same chunks, computed by several workers at a time (tile_workers.h):
  // the chunk function must be thread-safe. Sinks that do not TakesAnyOrder()
  // get the chunks in order, in the calling thread, as progress is reported
  // there.
  LazyChunkSequence WithWorkers(const WorkerOptions& options) const;

  // The same chunks, computed by the ranks of a job. ForEach() and what is made
  // of it are collective from then on: the sink of every rank gets every chunk,
  // in order, ToNpy() writes on the first rank, and with ToZarr() each rank
  // writes into one store what it computes; progress is each rank's own. A rank
  // that fails must end the others, see Communicator. Replaces WithWorkers().
  LazyChunkSequence WithRanks(const RankOptions& options) const;

  // Computes chunk `index`. An error keeps its code, and its message begins
  // with "<name> chunk <index> of <num_chunks>: ", counted from 0. kOutOfRange
  // on another index.
  absl::StatusOr<at::Tensor> Get(int64_t index) const;

  // Computes all chunks in order into `sink`. Ends at the first error, the
  // first in the order of the chunks where there are workers.
  absl::Status ForEach(ChunkSink& sink,
                       ProgressReporter* progress = nullptr) const;

  template <typename Result>
  absl::StatusOr<Result> Compute(SequenceAggregator<Result>& aggregator,
                                 ProgressReporter* progress = nullptr) const {
    INFLUENCE_RETURN_IF_ERROR(ForEach(aggregator, progress));
    return aggregator.Finish();
  }
  template <typename Result>
  absl::StatusOr<Result> Compute(SequenceAggregator<Result>&& aggregator,
                                 ProgressReporter* progress = nullptr) const {
    return Compute(aggregator, progress);
  }

  // Computes all chunks into one .npy file, concatenated along dimension 0,
  // with the dtype of the first. The path is checked before anything runs; the
  // file appears when it is complete, or not at all. Errors as of NpyWriter.
  absl::Status ToNpy(const std::string& path,
                     const NpyOptions& options = {}) const;

  // Computes all chunks into one Zarr array at the root of a store, a chunk
  // there for each (or several, where they are large), with the dtype of the
  // first. All but the last are of the first one's extent. As ToNpy() else;
  // errors as of ZarrStoreWriter.
  absl::Status ToZarr(const std::string& path,
                      const ZarrOptions& options = {}) const;

 private:
  // Computes chunk `index` and gives what adds it to the sink.
  absl::StatusOr<TileWork::DeliverFunction> Compute(int64_t index,
                                                    ChunkSink& sink) const;
  absl::Status ForEachByWorkers(ChunkSink& sink, ProgressStage* stage) const;
  absl::Status ForEachByRanks(ChunkSink& sink, ProgressStage* stage) const;

  // Adds a chunk to the sink.
  absl::Status Deliver(int64_t index, const at::Tensor& chunk,
                       ChunkSink& sink) const;

  // What workers take of `schedule`.
  absl::Status RunWorkers(TileSchedule& schedule, const WorkerOptions& workers,
                          const std::function<bool(int64_t, int64_t)>& wants,
                          ChunkSink& sink, ProgressStage* stage) const;
  absl::Status ToSharedZarr(const std::string& path,
                            const ZarrOptions& options) const;

  std::string name_;
  int64_t num_chunks_;
  int64_t num_rows_;
  ChunkFunction chunk_;
  std::optional<WorkerOptions> workers_;  // None: the calling thread.
  std::optional<RankOptions> ranks_;      // None: this process alone.
};

// Tiles along dimensions 0 and 1. What the tiles of one row share (the factors
// of a batch of queries) is computed once a row.
class NestedLazyChunkSequence {
 public:
  // A row that is open: computes the tile in column `column`.
  using TileFunction =
      std::function<absl::StatusOr<at::Tensor>(int64_t column)>;

  // Opens row `row`: computes what its tiles share. The result holds it and is
  // destroyed before the next row is opened.
  using RowFunction = std::function<absl::StatusOr<TileFunction>(int64_t row)>;

  // The tiles make up an array of shape [num_rows, num_columns, ...], cut into
  // row_chunks by column_chunks.
  NestedLazyChunkSequence(std::string name, int64_t row_chunks,
                          int64_t column_chunks, int64_t num_rows,
                          int64_t num_columns, RowFunction open_row);

  const std::string& name() const { return name_; }
  int64_t row_chunks() const { return row_chunks_; }
  int64_t column_chunks() const { return column_chunks_; }
  int64_t num_rows() const { return num_rows_; }
  int64_t num_columns() const { return num_columns_; }

  // The same tiles, as LazyChunkSequence's: the row function and what it
  // returns must be thread-safe. Of rows MaxOpenRows() are open at once.
  NestedLazyChunkSequence WithWorkers(const WorkerOptions& options) const;

  // The same tiles, as LazyChunkSequence's. Ranks share the tiles of each row,
  // which all of them open; with ToZarr(), where they do not open rows together
  // and there are rows for all, each has whole rows.
  NestedLazyChunkSequence WithRanks(const RankOptions& options) const;

  // Computes all tiles into `sink`, row by row. Ends at the first error, whose
  // message begins with "<name> tile (<row>, <column>) of <row chunks> x
  // <column chunks>: " or, where a row cannot be opened, "<name> row <row> of
  // <row chunks>: ".
  absl::Status ForEach(TileSink& sink,
                       ProgressReporter* progress = nullptr) const;

  template <typename Result>
  absl::StatusOr<Result> Compute(NestedSequenceAggregator<Result>& aggregator,
                                 ProgressReporter* progress = nullptr) const {
    INFLUENCE_RETURN_IF_ERROR(ForEach(aggregator, progress));
    return aggregator.Finish();
  }
  template <typename Result>
  absl::StatusOr<Result> Compute(NestedSequenceAggregator<Result>&& aggregator,
                                 ProgressReporter* progress = nullptr) const {
    return Compute(aggregator, progress);
  }

  // Computes all tiles into one .npy file [num_rows, num_columns, ...] with the
  // dtype of the first; as LazyChunkSequence's.
  absl::Status ToNpy(const std::string& path,
                     const NpyOptions& options = {}) const;

  // Computes all tiles into one Zarr array, a chunk a tile; as
  // LazyChunkSequence's.
  absl::Status ToZarr(const std::string& path,
                      const ZarrOptions& options = {}) const;

 private:
  absl::StatusOr<TileFunction> OpenRow(int64_t row) const;

  // An error with the place of the tile that it is of.
  absl::Status InTile(const absl::Status& status, int64_t row,
                      int64_t column) const;

  absl::StatusOr<at::Tensor> ComputeTile(const TileFunction& tile_function,
                                         int64_t row, int64_t column) const;
  absl::Status Deliver(int64_t row, int64_t column, const at::Tensor& tile,
                       TileSink& sink) const;

  // Computes a tile of an open row and gives what adds it to the sink.
  absl::StatusOr<TileWork::DeliverFunction> Compute(
      const TileFunction& tile_function, int64_t row, int64_t column,
      TileSink& sink) const;
  absl::Status ForEachByWorkers(TileSink& sink, ProgressStage* stage) const;
  absl::Status ForEachByRanks(TileSink& sink, ProgressStage* stage) const;
  absl::Status ToSharedZarr(const std::string& path,
                            const ZarrOptions& options) const;

  // What workers take of `schedule`.
  absl::Status RunWorkers(TileSchedule& schedule, const WorkerOptions& workers,
                          const std::function<bool(int64_t, int64_t)>& wants,
                          TileSink& sink, ProgressStage* stage) const;

  std::string name_;
  int64_t row_chunks_;
  int64_t column_chunks_;
  int64_t num_rows_;
  int64_t num_columns_;
  RowFunction open_row_;
  std::optional<WorkerOptions> workers_;
  std::optional<RankOptions> ranks_;
};

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_LAZY_CHUNK_SEQUENCE_H_
