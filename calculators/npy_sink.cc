// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/npy_sink.h"

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"

namespace influence {

absl::Status NpyChunkSink::Begin(int64_t /*num_chunks*/) {
  row_ = 0;
  return absl::OkStatus();
}

absl::Status NpyChunkSink::Add(int64_t /*index*/, const at::Tensor& chunk) {
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined("chunk", chunk));
  if (chunk.dim() == 0) {
    return absl::InvalidArgumentError(
        "chunk: found shape [], expected at least one dimension");
  }
  INFLUENCE_RETURN_IF_ERROR(writer_->WriteRows(row_, chunk));
  row_ += chunk.size(0);
  return absl::OkStatus();
}

absl::Status NpyTileSink::Begin(int64_t /*row_chunks*/,
                                int64_t /*column_chunks*/) {
  row_ = column_ = height_ = 0;
  return absl::OkStatus();
}

absl::Status NpyTileSink::Add(int64_t /*row*/, int64_t column,
                              const at::Tensor& tile) {
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined("tile", tile));
  if (tile.dim() < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("tile: found shape ", ShapeString(tile),
                     ", expected at least two dimensions"));
  }
  if (column == 0) {  // The first of a row.
    row_ += height_;
    column_ = 0;
    height_ = tile.size(0);
  } else if (tile.size(0) != height_) {
    return absl::InvalidArgumentError(
        absl::StrCat("tile: found ", tile.size(0), " rows, expected ", height_,
                     " as in the tiles left of it"));
  }
  if (scale_ == 1) {
    INFLUENCE_RETURN_IF_ERROR(writer_->WriteTile(row_, column_, tile));
  } else {
    INFLUENCE_ASSIGN_OR_RETURN(
        const at::Tensor scaled,
        CatchTorch("tile", [&]() -> absl::StatusOr<at::Tensor> {
          return tile.detach().mul(scale_);
        }));
    INFLUENCE_RETURN_IF_ERROR(writer_->WriteTile(row_, column_, scaled));
  }
  column_ += tile.size(1);
  return absl::OkStatus();
}

}  // namespace influence
