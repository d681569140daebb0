// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/result_tile_sink.h"

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "influence/prepared_queries.h"

namespace influence {

bool ResultTileSink::Wants(int64_t group, int64_t column) const {
  const std::vector<int64_t> begin = {group * group_size_,
                                      column * batch_size_};
  for (size_t array = 0; array < num_arrays_; ++array) {
    if (!output_->HasTile(array, begin)) return true;
  }
  return false;
}

absl::Status ResultTileSink::Prepared(
    int64_t group, const std::vector<BlockSolveReports>& reports) {
  return output_->KeepSolves(group, reports);
}

absl::Status ResultTileSink::Add(size_t array, int64_t group, int64_t column,
                                 const at::Tensor& tile) {
  std::vector<int64_t> begin(tile.dim(), 0);
  begin[0] = group * group_size_;
  begin[1] = column * batch_size_;
  return output_->Write(array, begin, tile, scale_);
}

}  // namespace influence
