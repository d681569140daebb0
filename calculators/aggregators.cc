// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/aggregators.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"

namespace influence {
namespace {

// torch::cat() promotes dtypes and skips empty tensors; neither is wanted.
absl::Status CheckLike(absl::string_view name, const at::Tensor& tensor,
                       const at::Tensor& first, int64_t dimension) {
  bool same = tensor.dim() == first.dim() && tensor.dim() > dimension &&
              tensor.scalar_type() == first.scalar_type();
  for (int64_t d = 0; same && d < tensor.dim(); ++d) {
    same = d == dimension || tensor.size(d) == first.size(d);
  }
  if (same) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": found ", DtypeName(tensor.scalar_type()), " ",
                   ShapeString(tensor), ", expected to continue ",
                   DtypeName(first.scalar_type()), " ", ShapeString(first),
                   " along dimension ", dimension));
}

absl::StatusOr<at::Tensor> Concatenate(const std::vector<at::Tensor>& tensors,
                                       int64_t dimension) {
  if (tensors.size() == 1) return tensors[0];
  return CatchTorch("concatenation", [&]() -> absl::StatusOr<at::Tensor> {
    return at::cat(tensors, dimension);
  });
}

absl::Status NothingToConcatenate() {
  return absl::FailedPreconditionError(
      "concatenation: found no chunks, expected at least one");
}

}  // namespace

absl::Status ListAggregator::Begin(int64_t num_chunks) {
  chunks_.clear();
  chunks_.reserve(num_chunks);
  return absl::OkStatus();
}

absl::Status ListAggregator::Add(int64_t /*index*/, const at::Tensor& chunk) {
  chunks_.push_back(chunk);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<at::Tensor>> ListAggregator::Finish() {
  return std::exchange(chunks_, {});
}

absl::Status CatAggregator::Begin(int64_t num_chunks) {
  chunks_.clear();
  chunks_.reserve(num_chunks);
  return absl::OkStatus();
}

absl::Status CatAggregator::Add(int64_t /*index*/, const at::Tensor& chunk) {
  INFLUENCE_RETURN_IF_ERROR(
      CheckLike("chunk", chunk, chunks_.empty() ? chunk : chunks_[0], 0));
  chunks_.push_back(chunk);
  return absl::OkStatus();
}

absl::StatusOr<at::Tensor> CatAggregator::Finish() {
  if (chunks_.empty()) return NothingToConcatenate();
  return Concatenate(std::exchange(chunks_, {}), 0);
}

absl::Status NestedCatAggregator::Begin(int64_t row_chunks,
                                        int64_t column_chunks) {
  rows_.clear();
  tiles_.clear();
  rows_.reserve(row_chunks);
  tiles_.reserve(column_chunks);
  return absl::OkStatus();
}

absl::Status NestedCatAggregator::Add(int64_t /*row*/, int64_t column,
                                      const at::Tensor& tile) {
  if (column == 0) INFLUENCE_RETURN_IF_ERROR(FinishRow());
  INFLUENCE_RETURN_IF_ERROR(
      CheckLike("tile", tile, tiles_.empty() ? tile : tiles_[0], 1));
  tiles_.push_back(tile);
  return absl::OkStatus();
}

absl::StatusOr<at::Tensor> NestedCatAggregator::Finish() {
  INFLUENCE_RETURN_IF_ERROR(FinishRow());
  if (rows_.empty()) return NothingToConcatenate();
  return Concatenate(std::exchange(rows_, {}), 0);
}

absl::Status NestedCatAggregator::FinishRow() {
  if (tiles_.empty()) return absl::OkStatus();
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor row, Concatenate(tiles_, 1));
  tiles_.clear();
  INFLUENCE_RETURN_IF_ERROR(
      CheckLike("row of tiles", row, rows_.empty() ? row : rows_[0], 0));
  rows_.push_back(std::move(row));
  return absl::OkStatus();
}

}  // namespace influence
