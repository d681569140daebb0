// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/top_k.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/isfinite.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/missing_rows.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"

namespace influence {
namespace {

// Of the indices within TopKAggregator: the extent of a tile is smaller.
constexpr int kColumnBits = 32;
constexpr int64_t kColumnMask = (int64_t{1} << kColumnBits) - 1;

absl::Status ValidateOptions(const TopKOptions& options) {
  if (options.k >= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("k: found ", options.k, ", expected >= 1"));
}

// Of a query without an answer, in what is kept of some tiles.
constexpr int64_t kMissing = -2;

// The rows without an answer. Names the first entry that is not finite without
// being one of those, counted from `row` and `column`.
absl::StatusOr<std::vector<int64_t>> MissingRows(absl::string_view name,
                                                 const at::Tensor& scores,
                                                 int64_t row, int64_t column) {
  absl::StatusOr<std::vector<int64_t>> missing = FindMissingRows(name, scores);
  if (missing.ok()) return missing;
  for (int64_t i = 0; i < scores.size(0); ++i) {
    const at::Tensor finite = at::isfinite(scores[i]);
    if (finite.all().item<bool>() || scores[i].isnan().all().item<bool>()) {
      continue;
    }
    const int64_t j = finite.logical_not().nonzero()[0][0].item<int64_t>();
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": found ", scores[i][j].item<double>(), " at (",
                     row + i, ", ", column + j, "), expected finite numbers"));
  }
  return missing;
}

absl::Status ValidateMatrix(absl::string_view name, const at::Tensor& scores) {
  INFLUENCE_RETURN_IF_ERROR(ValidateFloating(name, scores));
  if (scores.dim() == 2) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      name, ": found shape ", ShapeString(scores), ", expected [m, n]"));
}

}  // namespace

TopK::TopK(int64_t num_queries, at::ScalarType dtype,
           const TopKOptions& options)
    : num_queries_(num_queries),
      dtype_(dtype),
      options_(options),
      largest_(num_queries),
      smallest_(num_queries),
      missing_(num_queries, false) {}

absl::StatusOr<TopK> TopK::Create(int64_t num_queries, at::ScalarType dtype,
                                  const TopKOptions& options) {
  INFLUENCE_RETURN_IF_ERROR(ValidateOptions(options));
  if (num_queries < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("queries: found ", num_queries, ", expected >= 0"));
  }
  if (dtype != at::kFloat && dtype != at::kDouble) {
    return absl::InvalidArgumentError(absl::StrCat(
        "dtype: found ", DtypeName(dtype), ", expected float32 or float64"));
  }
  return TopK(num_queries, dtype, options);
}

bool TopK::IsStronger(const Entry& a, const Entry& b) {
  if (a.strength != b.strength) return a.strength > b.strength;
  return a.index < b.index;
}

void TopK::Offer(const Entry& entry, Heap& heap) const {
  if (static_cast<int64_t>(heap.size()) == options_.k) {
    if (!IsStronger(entry, heap.front())) return;
    std::pop_heap(heap.begin(), heap.end(), IsStronger);
    heap.back() = entry;
  } else {
    heap.push_back(entry);
  }
  std::push_heap(heap.begin(), heap.end(), IsStronger);
}

template <typename Scalar>
void TopK::AddRows(int64_t row, int64_t column, const at::Tensor& scores,
                   const std::vector<int64_t>& missing) {
  const Scalar* values = scores.data_ptr<Scalar>();
  const int64_t num_columns = scores.size(1);
  for (int64_t i = 0; i < scores.size(0); ++i, values += num_columns) {
    if (std::binary_search(missing.begin(), missing.end(), i)) {
      missing_[row + i] = true;
      continue;
    }
    for (int64_t j = 0; j < num_columns; ++j) {
      const auto value = static_cast<double>(values[j]);
      Offer({value, column + j}, largest_[row + i]);
      Offer({-value, column + j}, smallest_[row + i]);
    }
  }
}

absl::Status TopK::Add(int64_t row, int64_t column, const at::Tensor& scores) {
  INFLUENCE_RETURN_IF_ERROR(ValidateMatrix("scores", scores));
  if (scores.scalar_type() != dtype_) {
    return absl::InvalidArgumentError(
        absl::StrCat("scores: found ", DtypeName(scores.scalar_type()),
                     ", expected ", DtypeName(dtype_)));
  }
  if (row < 0 || column < 0 || scores.size(0) > num_queries_ - row) {
    return absl::InvalidArgumentError(
        absl::StrCat("scores: found shape ", ShapeString(scores), " at (", row,
                     ", ", column, "), expected queries below ", num_queries_));
  }
  return CatchTorch("scores", [&]() -> absl::Status {
    const at::Tensor values = scores.detach().contiguous();
    INFLUENCE_ASSIGN_OR_RETURN(const std::vector<int64_t> missing,
                               MissingRows("scores", values, row, column));
    for (int64_t i = 0; values.size(1) > 0 && i < values.size(0); ++i) {
      INFLUENCE_RETURN_IF_ERROR(CheckSameAnswer(
          row + i, std::binary_search(missing.begin(), missing.end(), i)));
    }
    if (dtype_ == at::kDouble) {
      AddRows<double>(row, column, values, missing);
    } else {
      AddRows<float>(row, column, values, missing);
    }
    return absl::OkStatus();
  });
}

absl::Status TopK::CheckSameAnswer(int64_t query, bool is_missing) const {
  const bool has_scores = !largest_[query].empty();
  if (is_missing ? !has_scores : !missing_[query]) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("scores: found numbers and NaN for query ", query,
                   ", expected the one or the other"));
}

void TopK::MergeSide(const at::Tensor& indices, const at::Tensor& scores,
                     double sign, std::vector<Heap>& heaps) const {
  const at::Tensor index = indices.contiguous();
  const at::Tensor score = scores.to(at::kDouble).contiguous();
  const int64_t* const index_data = index.data_ptr<int64_t>();
  const double* const score_data = score.data_ptr<double>();
  for (int64_t i = 0; i < num_queries_; ++i) {
    for (int64_t e = i * options_.k; e < (i + 1) * options_.k; ++e) {
      if (index_data[e] < 0) continue;
      Offer({sign * score_data[e], index_data[e]}, heaps[i]);
    }
  }
}

absl::Status TopK::Merge(const TopKScores& kept) {
  const std::vector<int64_t> shape = {num_queries_, options_.k};
  for (const at::Tensor* indices :
       {&kept.helpful_indices, &kept.harmful_indices}) {
    INFLUENCE_RETURN_IF_ERROR(ValidateShape("indices", *indices, shape));
    if (indices->scalar_type() != at::kLong) {
      return absl::InvalidArgumentError(
          absl::StrCat("indices: found ", DtypeName(indices->scalar_type()),
                       ", expected int64"));
    }
  }
  for (const at::Tensor* scores :
       {&kept.helpful_scores, &kept.harmful_scores}) {
    INFLUENCE_RETURN_IF_ERROR(ValidateShape("scores", *scores, shape));
    if (scores->scalar_type() != dtype_) {
      return absl::InvalidArgumentError(
          absl::StrCat("scores: found ", DtypeName(scores->scalar_type()),
                       ", expected ", DtypeName(dtype_)));
    }
  }
  return CatchTorch("scores", [&]() -> absl::Status {
    const bool positive = options_.positive_helps;
    const at::Tensor first = kept.helpful_indices.select(1, 0).contiguous();
    const int64_t* const first_data = first.data_ptr<int64_t>();
    for (int64_t i = 0; i < num_queries_; ++i) {
      if (first_data[i] == kNoSample) continue;  // Nothing was given.
      INFLUENCE_RETURN_IF_ERROR(CheckSameAnswer(i, first_data[i] == kMissing));
    }
    for (int64_t i = 0; i < num_queries_; ++i) {
      if (first_data[i] == kMissing) missing_[i] = true;
    }
    MergeSide(kept.helpful_indices, kept.helpful_scores, positive ? 1 : -1,
              positive ? largest_ : smallest_);
    MergeSide(kept.harmful_indices, kept.harmful_scores, positive ? -1 : 1,
              positive ? smallest_ : largest_);
    return absl::OkStatus();
  });
}

absl::Status TopK::SortSide(const std::vector<Heap>& heaps, double sign,
                            int64_t missing_index, at::Tensor& indices,
                            at::Tensor& scores) const {
  indices = at::empty({num_queries_, options_.k}, at::TensorOptions(at::kLong));
  indices.fill_(kNoSample);
  at::Tensor values =
      at::empty({num_queries_, options_.k}, at::TensorOptions(at::kDouble));
  values.fill_(std::numeric_limits<double>::quiet_NaN());
  auto* const index_data = indices.data_ptr<int64_t>();
  auto* const value_data = values.data_ptr<double>();
  for (int64_t i = 0; i < num_queries_; ++i) {
    if (missing_[i]) {
      indices[i].fill_(missing_index);
      continue;
    }
    Heap sorted = heaps[i];
    std::sort(sorted.begin(), sorted.end(), IsStronger);
    int64_t e = i * options_.k;
    std::vector<int64_t> seen;
    seen.reserve(sorted.size());
    for (const Entry& entry : sorted) {
      index_data[e] = entry.index;
      value_data[e++] = sign * entry.strength;
      seen.push_back(entry.index);
    }
    std::sort(seen.begin(), seen.end());
    const auto twice = std::adjacent_find(seen.begin(), seen.end());
    if (twice != seen.end()) {
      return absl::FailedPreconditionError(
          absl::StrCat("scores: found query ", i, " with training sample ",
                       *twice, " twice, expected each pair once"));
    }
  }
  scores = values.to(dtype_);
  return absl::OkStatus();
}

absl::StatusOr<TopKScores> TopK::Kept() const { return Sorted(kMissing); }

absl::StatusOr<TopKScores> TopK::Sorted(int64_t missing_index) const {
  return CatchTorch("scores", [&]() -> absl::StatusOr<TopKScores> {
    TopKScores kept;
    const bool positive = options_.positive_helps;
    INFLUENCE_RETURN_IF_ERROR(
        SortSide(largest_, 1, missing_index,
                 positive ? kept.helpful_indices : kept.harmful_indices,
                 positive ? kept.helpful_scores : kept.harmful_scores));
    INFLUENCE_RETURN_IF_ERROR(
        SortSide(smallest_, -1, missing_index,
                 positive ? kept.harmful_indices : kept.helpful_indices,
                 positive ? kept.harmful_scores : kept.helpful_scores));
    return kept;
  });
}

absl::StatusOr<TopKScores> TopK::Finish() const {
  for (int64_t i = 0; i < num_queries_; ++i) {
    const auto found = static_cast<int64_t>(largest_[i].size());
    if (found == options_.k || missing_[i]) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("scores: found ", found, " of query ", i,
                     ", expected at least k = ", options_.k));
  }
  return Sorted(kNoSample);
}

absl::Status TopKAggregator::Begin(int64_t row_chunks, int64_t column_chunks) {
  INFLUENCE_RETURN_IF_ERROR(ValidateOptions(options_));
  INFLUENCE_RETURN_IF_ERROR(ValidatePositive("scale", scale_));
  const std::lock_guard<std::mutex> lock(mutex_);
  rows_.clear();
  rows_.resize(row_chunks);
  dtype_.reset();
  extents_.assign(column_chunks, -1);
  seen_.assign(row_chunks * column_chunks, false);
  return absl::OkStatus();
}

absl::StatusOr<TopK*> TopKAggregator::RowOf(int64_t row, int64_t num_queries,
                                            at::ScalarType dtype) {
  if (dtype_.value_or(dtype) != dtype) {
    return absl::InvalidArgumentError(
        absl::StrCat("tile: found ", DtypeName(dtype), ", expected ",
                     DtypeName(*dtype_), ", as the others"));
  }
  dtype_ = dtype;
  std::unique_ptr<TopK>& kept = rows_[row];
  if (kept == nullptr) {
    INFLUENCE_ASSIGN_OR_RETURN(TopK created,
                               TopK::Create(num_queries, dtype, options_));
    kept = std::make_unique<TopK>(std::move(created));
  }
  if (kept->num_queries() == num_queries) return kept.get();
  return absl::InvalidArgumentError(
      absl::StrCat("tile: found ", num_queries, " queries, expected ",
                   kept->num_queries(), ", as the others of row ", row));
}

absl::Status TopKAggregator::CheckColumn(int64_t column, int64_t extent) {
  if (extent > kColumnMask) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tile: found ", extent, " columns, expected at most ", kColumnMask));
  }
  if (extents_[column] == -1 || extents_[column] == extent) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("tile: found ", extent, " training samples, expected ",
                   extents_[column], ", as the others of column ", column));
}

absl::Status TopKAggregator::Add(int64_t row, int64_t column,
                                 const at::Tensor& tile) {
  INFLUENCE_RETURN_IF_ERROR(ValidateMatrix("tile", tile));
  INFLUENCE_ASSIGN_OR_RETURN(
      const at::Tensor scaled,
      CatchTorch("tile", [&]() -> absl::StatusOr<at::Tensor> {
        at::Tensor values = tile.detach();
        if (scale_ != 1) values = values.mul(scale_);
        INFLUENCE_RETURN_IF_ERROR(MissingRows("tile", values, 0, 0).status());
        return values;
      }));
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto row_chunks = static_cast<int64_t>(rows_.size());
  const auto column_chunks = static_cast<int64_t>(extents_.size());
  if (row < 0 || row >= row_chunks || column < 0 || column >= column_chunks) {
    return absl::InvalidArgumentError(
        absl::StrCat("tile: found (", row, ", ", column, "), expected one of ",
                     row_chunks, " x ", column_chunks));
  }
  const int64_t number = row * column_chunks + column;
  if (seen_[number]) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tile: found (", row, ", ", column, ") twice, expected it once"));
  }
  INFLUENCE_RETURN_IF_ERROR(CheckColumn(column, scaled.size(1)));
  INFLUENCE_ASSIGN_OR_RETURN(TopK* const kept,
                             RowOf(row, scaled.size(0), scaled.scalar_type()));
  INFLUENCE_RETURN_IF_ERROR(kept->Add(0, column << kColumnBits, scaled));
  extents_[column] = scaled.size(1);
  seen_[number] = true;
  return absl::OkStatus();
}

absl::Status TopKAggregator::Merge(const TopKAggregator& other) {
  struct Row {
    int64_t num_queries;
    at::ScalarType dtype;
    TopKScores kept;
  };
  std::vector<std::optional<Row>> rows;
  std::vector<int64_t> extents;
  std::vector<bool> seen;
  {
    const std::lock_guard<std::mutex> lock(other.mutex_);
    rows.resize(other.rows_.size());
    for (size_t r = 0; r < rows.size(); ++r) {
      if (other.rows_[r] == nullptr) continue;
      const TopK& row = *other.rows_[r];
      INFLUENCE_ASSIGN_OR_RETURN(TopKScores kept, row.Kept());
      rows[r] = Row{row.num_queries(), row.dtype(), std::move(kept)};
    }
    extents = other.extents_;
    seen = other.seen_;
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  if (rows.size() != rows_.size() || extents.size() != extents_.size() ||
      other.options_.k != options_.k || other.scale_ != scale_ ||
      other.options_.positive_helps != options_.positive_helps) {
    return absl::InvalidArgumentError(absl::StrCat(
        "merge: found the ", other.options_.k, " best of ", rows.size(), " x ",
        extents.size(), " tiles, expected the ", options_.k, " best of ",
        rows_.size(), " x ", extents_.size(), ", of one scale and sign"));
  }
  for (size_t t = 0; t < seen.size(); ++t) {
    if (!seen[t] || !seen_[t]) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("merge: found tile (", t / extents.size(), ", ",
                     t % extents.size(), ") in both, expected it in one"));
  }
  for (size_t c = 0; c < extents.size(); ++c) {
    if (extents[c] < 0) continue;
    INFLUENCE_RETURN_IF_ERROR(CheckColumn(static_cast<int64_t>(c), extents[c]));
  }
  for (size_t r = 0; r < rows.size(); ++r) {
    if (!rows[r].has_value()) continue;
    INFLUENCE_RETURN_IF_ERROR(
        RowOf(static_cast<int64_t>(r), rows[r]->num_queries, rows[r]->dtype)
            .status());
  }
  for (size_t r = 0; r < rows.size(); ++r) {
    if (!rows[r].has_value()) continue;
    INFLUENCE_RETURN_IF_ERROR(rows_[r]->Merge(rows[r]->kept));
  }
  for (size_t c = 0; c < extents.size(); ++c) {
    if (extents[c] >= 0) extents_[c] = extents[c];
  }
  for (size_t t = 0; t < seen.size(); ++t) seen_[t] = seen_[t] || seen[t];
  return absl::OkStatus();
}

absl::StatusOr<TopKScores> TopKAggregator::Finish() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (rows_.empty() || extents_.empty()) {
    return absl::FailedPreconditionError(
        "scores: found no tiles, expected at least one");
  }
  const auto missing = std::find(seen_.begin(), seen_.end(), false);
  if (missing != seen_.end()) {
    const auto number = static_cast<size_t>(missing - seen_.begin());
    return absl::FailedPreconditionError(
        absl::StrCat("scores: found no tile (", number / extents_.size(), ", ",
                     number % extents_.size(), "), expected all ", rows_.size(),
                     " x ", extents_.size()));
  }
  std::vector<int64_t> begins;  // Of the columns of tiles.
  begins.reserve(extents_.size());
  int64_t num_train = 0;
  for (const int64_t extent : extents_) {
    begins.push_back(num_train);
    num_train += extent;
  }
  if (options_.k > num_train) {
    return absl::InvalidArgumentError(
        absl::StrCat("k: found ", options_.k, ", expected at most the ",
                     num_train, " training samples"));
  }
  return CatchTorch("scores", [&]() -> absl::StatusOr<TopKScores> {
    std::vector<at::Tensor> parts[4];
    for (const std::unique_ptr<TopK>& row : rows_) {
      INFLUENCE_ASSIGN_OR_RETURN(const TopKScores kept, row->Finish());
      for (const at::Tensor* indices :
           {&kept.helpful_indices, &kept.harmful_indices}) {
        auto* const data = indices->data_ptr<int64_t>();
        for (int64_t e = 0; e < indices->numel(); ++e) {
          if (data[e] == kNoSample) continue;
          data[e] = begins[data[e] >> kColumnBits] + (data[e] & kColumnMask);
        }
      }
      parts[0].push_back(kept.helpful_indices);
      parts[1].push_back(kept.helpful_scores);
      parts[2].push_back(kept.harmful_indices);
      parts[3].push_back(kept.harmful_scores);
    }
    return TopKScores{at::cat(parts[0], 0), at::cat(parts[1], 0),
                      at::cat(parts[2], 0), at::cat(parts[3], 0)};
  });
}

}  // namespace influence
