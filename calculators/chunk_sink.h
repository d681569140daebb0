// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Where the chunks of a lazy sequence (lazy_chunk_sequence.h) go, one at a
// time: into a file, or into one's own reduction.
#ifndef INFLUENCE_CALCULATORS_CHUNK_SINK_H_
#define INFLUENCE_CALCULATORS_CHUNK_SINK_H_

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace influence {

// Takes the chunks of a LazyChunkSequence in order: Begin(), then Add() for
// chunk 0, 1, ..., those it wants. An error it returns ends the computation.
// All calls come from the thread that runs the computation, unless the sink
// TakesAnyOrder().
class ChunkSink {
 public:
  virtual ~ChunkSink() = default;

  // Forgets what an earlier use has left.
  virtual absl::Status Begin(int64_t num_chunks) = 0;

  // False if chunk `index` is there already: it is neither computed nor added.
  virtual bool Wants(int64_t /*index*/) const { return true; }

  // True if from now on Add() may come from several threads at once, for chunks
  // in any order. A sink that has to see the first chunk first says so after
  // it.
  virtual bool TakesAnyOrder() const { return false; }

  virtual absl::Status Add(int64_t index, const at::Tensor& chunk) = 0;
};

// The same for the tiles of a NestedLazyChunkSequence, row by row.
class TileSink {
 public:
  virtual ~TileSink() = default;

  virtual absl::Status Begin(int64_t row_chunks, int64_t column_chunks) = 0;

  // As ChunkSink's. A row of which no tile is wanted is not opened.
  virtual bool Wants(int64_t /*row*/, int64_t /*column*/) const { return true; }

  virtual bool TakesAnyOrder() const { return false; }  // As ChunkSink's.

  virtual absl::Status Add(int64_t row, int64_t column,
                           const at::Tensor& tile) = 0;
};

// A sink that makes a Result of the chunks. May be used again after Finish().
template <typename ResultType>
class SequenceAggregator : public ChunkSink {
 public:
  using Result = ResultType;

  // After the last Add().
  virtual absl::StatusOr<Result> Finish() = 0;
};

template <typename ResultType>
class NestedSequenceAggregator : public TileSink {
 public:
  using Result = ResultType;

  virtual absl::StatusOr<Result> Finish() = 0;
};

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_CHUNK_SINK_H_
