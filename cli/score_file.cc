// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/score_file.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/where.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "calculators/top_k.h"
#include "calculators/zarr_array.h"
#include "calculators/zarr_format.h"

namespace influence {
namespace {

absl::Status NotScores(absl::string_view path, absl::string_view found) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": found ", found,
                   ", expected a .zarr store of influence scores (--mode up, "
                   "without --by-block)"));
}

absl::Status Damaged(absl::string_view path, absl::string_view found,
                     absl::string_view expected) {
  return absl::DataLossError(
      absl::StrCat(path, ": found ", found, ", expected ", expected));
}

// `status` with the path before its message, as damage of the store.
absl::Status InStore(absl::string_view path, const absl::Status& status) {
  if (status.ok() || absl::StartsWith(status.message(), path)) return status;
  return absl::DataLossError(absl::StrCat(path, ": ", status.message()));
}

}  // namespace

std::string ScoreFile::Text(const std::string& attribute) const {
  const auto found = attributes_.find(attribute);
  if (found == attributes_.end() || !found->is_string()) return "";
  return found->get<std::string>();
}

std::string ScoreFile::Fingerprint(const std::string& role) const {
  const auto found = attributes_.find("fingerprints");
  if (found == attributes_.end() || !found->is_object()) return "";
  const auto fingerprint = found->find(role);
  if (fingerprint == found->end() || !fingerprint->is_string()) return "";
  return fingerprint->get<std::string>();
}

absl::StatusOr<ScoreFile> ScoreFile::Open(const std::string& path) {
  INFLUENCE_ASSIGN_OR_RETURN(const ZarrNodeType type, ZarrNodeTypeOf(path));
  if (type == ZarrNodeType::kGroup) {
    INFLUENCE_ASSIGN_OR_RETURN(const ZarrGroup group, ZarrGroup::Open(path));
    ScoreFile file(path, group.attributes());
    const std::string kind = file.Text("kind");
    if (kind != "top_k") {
      return NotScores(path, kind == "scores" ? "several arrays of scores"
                             : kind.empty()   ? "a group of another program"
                                              : kind);
    }
    INFLUENCE_RETURN_IF_ERROR(file.ReadAttributes());
    INFLUENCE_RETURN_IF_ERROR(file.OpenTopK(group));
    return file;
  }
  INFLUENCE_ASSIGN_OR_RETURN(ZarrArray array, ZarrArray::Open(path));
  ScoreFile file(path, array.metadata().attributes);
  const std::string kind = file.Text("kind");
  if (kind != "scores") {
    return NotScores(path, kind.empty() ? "an array of another program" : kind);
  }
  if (array.shape().size() != 2) {
    return NotScores(path, absl::StrCat("scores of mode ", file.Text("mode"),
                                        ", ", array.metadata().ToString()));
  }
  INFLUENCE_RETURN_IF_ERROR(file.ReadAttributes());
  file.num_queries_ = array.shape()[0];
  file.num_train_ = array.shape()[1];
  file.largest_k_ = file.num_train_;
  file.all_ = std::move(array);
  return file;
}

absl::Status ScoreFile::ReadAttributes() {
  const std::string sign = Text("sign");
  if (sign != "positive_helps" && sign != "negative_helps") {
    return Damaged(path_,
                   sign.empty() ? std::string("no attribute sign")
                                : absl::StrCat("sign ", sign),
                   "positive_helps or negative_helps");
  }
  positive_helps_ = sign == "positive_helps";
  return absl::OkStatus();
}

absl::Status ScoreFile::OpenTopK(const ZarrGroup& group) {
  for (const char* const name : kTopKArrays) {
    INFLUENCE_ASSIGN_OR_RETURN(ZarrArray array, group.OpenArray(name));
    const bool is_index = absl::EndsWith(name, "_indices");
    const bool fits = array.shape().size() == 2 && array.shape()[1] >= 1 &&
                      (top_.empty() || array.shape() == top_[0].shape()) &&
                      (is_index ? array.dtype() == at::kLong
                                : array.dtype() == at::kFloat ||
                                      array.dtype() == at::kDouble);
    if (!fits) {
      return Damaged(array.folder(), array.metadata().ToString(),
                     is_index ? "int64 [M, K], the same in all four arrays"
                              : "float32 or float64 [M, K], the same in all "
                                "four arrays");
    }
    top_.push_back(std::move(array));
  }
  const auto num_train = attributes_.find("num_train");
  num_queries_ = top_[0].shape()[0];
  largest_k_ = top_[0].shape()[1];
  if (num_train == attributes_.end() || !num_train->is_number_integer() ||
      num_train->get<int64_t>() < largest_k_) {
    return Damaged(path_, "no number of training samples in num_train",
                   absl::StrCat(largest_k_, " or more"));
  }
  num_train_ = num_train->get<int64_t>();
  return absl::OkStatus();
}

absl::StatusOr<TopKScores> ScoreFile::ReadTopK(int64_t num_queries) const {
  TopKScores top;
  at::Tensor missing;  // bool [num_queries]
  at::Tensor* const tensors[] = {&top.helpful_indices, &top.helpful_scores,
                                 &top.harmful_indices, &top.harmful_scores};
  for (size_t a = 0; a < top_.size(); ++a) {
    INFLUENCE_ASSIGN_OR_RETURN(*tensors[a], top_[a].ReadRows(0, num_queries));
    if (a == 0) missing = tensors[a]->eq(kNoSample).all(1);
    // A query without an answer has none in all four arrays.
    const at::Tensor entries = *tensors[a];
    const bool is_index = entries.scalar_type() == at::kLong;
    const at::Tensor none = is_index ? entries.eq(kNoSample) : entries.isnan();
    const at::Tensor some =
        is_index ? entries.ge(0).logical_and(entries.lt(num_train_))
                 : entries.isfinite();
    const bool sound =
        at::where(missing.unsqueeze(1), none, some).all().item<bool>();
    if (!sound) {
      return Damaged(top_[a].folder(), "an entry out of range",
                     tensors[a]->scalar_type() == at::kLong
                         ? absl::StrCat("training samples below ", num_train_)
                         : "finite scores");
    }
  }
  return top;
}

absl::Status ScoreFile::ForEachChunk(
    int64_t num_queries,
    absl::FunctionRef<absl::Status(int64_t row, int64_t column,
                                   const at::Tensor& scores)>
        function,
    ProgressReporter* progress) const {
  const std::vector<int64_t>& chunk = all_->metadata().chunk_shape;
  const std::vector<int64_t> grid = {(num_queries + chunk[0] - 1) / chunk[0],
                                     all_->metadata().grid_shape()[1]};
  ProgressStage stage(progress, "reading", grid[0] * grid[1], "chunks");
  return ForEachZarrChunk(
      {0, 0}, grid, [&](absl::Span<const int64_t> index) -> absl::Status {
        INFLUENCE_ASSIGN_OR_RETURN(at::Tensor scores, all_->ReadChunk(index));
        const int64_t row = index[0] * chunk[0];
        scores =
            scores.narrow(0, 0, std::min(scores.size(0), num_queries - row));
        INFLUENCE_RETURN_IF_ERROR(function(row, index[1] * chunk[1], scores));
        stage.Advance();
        return absl::OkStatus();
      });
}

absl::StatusOr<TopKScores> ScoreFile::Top(int64_t k, int64_t num_queries,
                                          ProgressReporter* progress) const {
  if (k < 1 || k > largest_k_ || num_queries < 0 ||
      num_queries > num_queries_) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": found k ", k, " of ", num_queries,
                     " queries, expected k from 1 to ", largest_k_,
                     " of at most ", num_queries_));
  }
  return CatchTorch(path_, [&]() -> absl::StatusOr<TopKScores> {
    if (!all_.has_value()) {
      INFLUENCE_ASSIGN_OR_RETURN(TopKScores kept, ReadTopK(num_queries));
      for (at::Tensor* const tensor :
           {&kept.helpful_indices, &kept.helpful_scores, &kept.harmful_indices,
            &kept.harmful_scores}) {
        *tensor = tensor->narrow(1, 0, k);
      }
      return kept;
    }
    INFLUENCE_ASSIGN_OR_RETURN(
        TopK top, TopK::Create(num_queries, all_->dtype(),
                               {.k = k, .positive_helps = positive_helps_}));
    INFLUENCE_RETURN_IF_ERROR(ForEachChunk(
        num_queries,
        [&](int64_t row, int64_t column, const at::Tensor& scores) {
          return InStore(path_, top.Add(row, column, scores));
        },
        progress));
    return top.Finish();
  });
}

absl::Status ScoreFile::ForEachTile(int64_t num_queries, TileFunction function,
                                    ProgressReporter* progress) const {
  return CatchTorch(path_, [&]() -> absl::Status {
    if (all_.has_value()) {
      return ForEachChunk(
          num_queries,
          [&](int64_t row, int64_t /*column*/, const at::Tensor& scores) {
            return function(row, scores);
          },
          progress);
    }
    INFLUENCE_ASSIGN_OR_RETURN(const TopKScores kept, ReadTopK(num_queries));
    INFLUENCE_RETURN_IF_ERROR(function(0, kept.helpful_scores));
    return function(0, kept.harmful_scores);
  });
}

}  // namespace influence
