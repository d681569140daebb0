// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/top_k_tile_sink.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/full.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "base/broadcast.h"
#include "base/communicator.h"
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
                           int64_t num_columns, double scale,
                           bool shares_groups)
    : output_(output),
      options_(options),
      group_size_(group_size),
      batch_size_(batch_size),
      num_columns_(num_columns),
      scale_(scale),
      shares_groups_(shares_groups) {}

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
  INFLUENCE_RETURN_IF_ERROR(output_->CheckValues(group * group_size_, tile));
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
    if (++kept->num_tiles < num_columns_ || shares_groups_) {
      return absl::OkStatus();
    }
    INFLUENCE_ASSIGN_OR_RETURN(top, kept->top.Finish());
  }
  INFLUENCE_RETURN_IF_ERROR(Write(group, top));
  const std::lock_guard<std::mutex> lock(mutex_);
  groups_.erase(group);
  return absl::OkStatus();
}

absl::Status TopKTileSink::FinishSharedGroup(int64_t group, Communicator& job) {
  std::shared_ptr<Group> mine;  // Null if this rank has computed no tile of it.
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (const auto found = groups_.find(group); found != groups_.end()) {
      mine = found->second;
      groups_.erase(found);
    }
  }
  std::optional<TopK> all;
  for (int rank = 0; rank < job.size(); ++rank) {
    TopKScores kept;
    if (rank == job.rank() && mine != nullptr) {
      INFLUENCE_ASSIGN_OR_RETURN(kept, mine->top.Kept());
    }
    const at::Tensor has_some =
        at::full({1}, kept.helpful_scores.defined() ? 1 : 0, at::kLong);
    INFLUENCE_RETURN_IF_ERROR(job.Broadcast(has_some, rank));
    if (has_some.item<int64_t>() == 0) continue;
    for (at::Tensor* const tensor :
         {&kept.helpful_indices, &kept.helpful_scores, &kept.harmful_indices,
          &kept.harmful_scores}) {
      INFLUENCE_ASSIGN_OR_RETURN(*tensor, BroadcastTensor(job, *tensor, rank));
    }
    if (job.rank() != 0) continue;
    if (!all.has_value()) {
      INFLUENCE_ASSIGN_OR_RETURN(
          all, TopK::Create(kept.helpful_scores.size(0),
                            kept.helpful_scores.scalar_type(), options_));
    }
    INFLUENCE_RETURN_IF_ERROR(all->Merge(kept));
  }
  if (job.rank() != 0) return absl::OkStatus();
  INFLUENCE_CHECK(all.has_value());
  INFLUENCE_ASSIGN_OR_RETURN(const TopKScores top, all->Finish());
  return Write(group, top);
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
