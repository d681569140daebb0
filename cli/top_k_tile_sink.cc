// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/top_k_tile_sink.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "calculators/top_k.h"
#include "cli/result_output.h"
#include "cli/score_file.h"
#include "influence/prepared_queries.h"

namespace influence {

std::vector<ResultArray> TopKArrays(int64_t num_queries, int64_t k,
                                    int64_t group_size) {
  std::vector<ResultArray> arrays;
  arrays.reserve(std::size(kTopKArrays));
  for (const char* const name : kTopKArrays) {
    arrays.push_back({name, {num_queries, k}, {group_size, k}});
    if (absl::EndsWith(name, "_indices")) arrays.back().dtype = at::kLong;
  }
  return arrays;
}

TopKTileSink::TopKTileSink(ResultOutput* output, const TopKOptions& options,
                           int64_t group_size, int64_t batch_size,
                           int64_t num_columns, double scale)
    : output_(output),
      options_(options),
      group_size_(group_size),
      batch_size_(batch_size),
      num_columns_(num_columns),
      scale_(scale) {}

bool TopKTileSink::Wants(int64_t group, int64_t /*column*/) const {
  const std::vector<int64_t> begin = {group * group_size_, 0};
  for (size_t array = 0; array < std::size(kTopKArrays); ++array) {
    if (!output_->HasTile(array, begin)) return true;
  }
  return false;
}

absl::Status TopKTileSink::Prepared(
    int64_t group, const std::vector<BlockSolveReports>& reports) {
  return output_->KeepSolves(group, reports);
}

absl::Status TopKTileSink::Add(size_t /*array*/, int64_t group, int64_t column,
                               const at::Tensor& tile) {
  INFLUENCE_ASSIGN_OR_RETURN(
      const at::Tensor scaled,
      CatchTorch("scores", [&]() -> absl::StatusOr<at::Tensor> {
        return scale_ == 1 ? tile : tile.mul(scale_);
      }));
  std::shared_ptr<Group> kept;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::shared_ptr<Group>& entry = groups_[group];
    if (entry == nullptr) {
      INFLUENCE_ASSIGN_OR_RETURN(
          TopK top,
          TopK::Create(scaled.size(0), scaled.scalar_type(), options_));
      entry = std::make_shared<Group>(std::move(top));
    }
    kept = entry;
  }
  TopKScores top;
  {
    const std::lock_guard<std::mutex> lock(kept->mutex);
    INFLUENCE_RETURN_IF_ERROR(kept->top.Add(0, column * batch_size_, scaled));
    if (++kept->num_tiles < num_columns_) return absl::OkStatus();
    INFLUENCE_ASSIGN_OR_RETURN(top, kept->top.Finish());
  }
  INFLUENCE_RETURN_IF_ERROR(Write(group, top));
  const std::lock_guard<std::mutex> lock(mutex_);
  groups_.erase(group);
  return absl::OkStatus();
}

absl::Status TopKTileSink::Write(int64_t group, const TopKScores& top) {
  const at::Tensor* const tensors[] = {
      &top.helpful_indices, &top.helpful_scores, &top.harmful_indices,
      &top.harmful_scores};
  const std::vector<int64_t> begin = {group * group_size_, 0};
  for (size_t array = 0; array < std::size(tensors); ++array) {
    INFLUENCE_RETURN_IF_ERROR(output_->Write(array, begin, *tensors[array]));
  }
  return absl::OkStatus();
}

}  // namespace influence
