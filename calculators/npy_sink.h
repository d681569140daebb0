// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Sinks that put the chunks or tiles of a lazy sequence into a .npy file which
// was opened before the computation, so that a bad path or a full disk shows
// first.
#ifndef INFLUENCE_CALCULATORS_NPY_SINK_H_
#define INFLUENCE_CALCULATORS_NPY_SINK_H_

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "calculators/chunk_sink.h"
#include "calculators/npy_file.h"

namespace influence {

// Writes each chunk below the one before it. The caller commits the writer.
class NpyChunkSink : public ChunkSink {
 public:
  // Borrows `writer`, which must outlive this object.
  explicit NpyChunkSink(NpyWriter* writer) : writer_(writer) {}

  absl::Status Begin(int64_t num_chunks) override;
  absl::Status Add(int64_t index, const at::Tensor& chunk) override;

 private:
  NpyWriter* writer_;
  int64_t row_ = 0;
};

// Writes each tile right of the one before it, each row of tiles below the one
// before it, every value multiplied by `scale`. The caller commits the writer.
class NpyTileSink : public TileSink {
 public:
  // Borrows `writer`, which must outlive this object.
  explicit NpyTileSink(NpyWriter* writer, double scale = 1)
      : writer_(writer), scale_(scale) {}

  absl::Status Begin(int64_t row_chunks, int64_t column_chunks) override;
  absl::Status Add(int64_t row, int64_t column,
                   const at::Tensor& tile) override;

 private:
  NpyWriter* writer_;
  double scale_;
  int64_t row_ = 0;  // Of the array, where the next tile goes.
  int64_t column_ = 0;
  int64_t height_ = 0;  // Of the tiles in the row that is being filled.
};

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_NPY_SINK_H_
