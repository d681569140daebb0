// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/batch_merger.h"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"

namespace influence {
namespace {

int64_t NumScalars(const Batch& batch) {
  int64_t sum = batch.y.numel();
  for (const at::Tensor& x : batch.x) sum += x.numel();
  return sum;
}

bool SameButForSamples(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.dim() == b.dim() &&
         a.sizes().slice(1) == b.sizes().slice(1);
}

bool Compatible(const Batch& a, const Batch& b) {
  if (a.x.size() != b.x.size() || !SameButForSamples(a.y, b.y)) return false;
  for (size_t i = 0; i < a.x.size(); ++i) {
    if (!SameButForSamples(a.x[i], b.x[i])) return false;
  }
  return true;
}

Batch Concatenate(const std::vector<Batch>& batches) {
  if (batches.size() == 1) return batches[0];
  std::vector<at::Tensor> parts(batches.size());
  const auto join = [&](auto&& tensor_of) {
    for (size_t b = 0; b < batches.size(); ++b) {
      parts[b] = tensor_of(batches[b]);
    }
    return at::cat(parts);
  };
  Batch merged;
  for (size_t i = 0; i < batches[0].x.size(); ++i) {
    merged.x.push_back(join([i](const Batch& batch) { return batch.x[i]; }));
  }
  merged.y = join([](const Batch& batch) { return batch.y; });
  return merged;
}

}  // namespace

BatchMergeLimits MergeLimitsForModel(int64_t num_parameters) {
  BatchMergeLimits limits;
  limits.max_samples =
      std::min(limits.max_samples,
               (int64_t{1} << 22) / std::max<int64_t>(1, num_parameters));
  return limits;
}

BatchMerger::BatchMerger(const BatchSequence& data,
                         const BatchMergeLimits& limits)
    : data_(data), limits_(limits) {}

absl::StatusOr<Batch> BatchMerger::Read() {
  INFLUENCE_ASSIGN_OR_RETURN(Batch batch, data_.Get(next_));
  INFLUENCE_RETURN_IF_ERROR(ValidateBatch(batch));
  ++next_;
  return batch;
}

absl::StatusOr<std::optional<MergedBatch>> BatchMerger::Next() {
  std::vector<Batch> batches;
  int64_t num_samples = 0;
  int64_t num_scalars = 0;
  while (true) {
    if (!pending_.has_value()) {
      if (next_ == data_.num_batches()) break;
      INFLUENCE_ASSIGN_OR_RETURN(pending_, Read());
    }
    num_samples += pending_->size();
    num_scalars += NumScalars(*pending_);
    if (!batches.empty() && (num_samples > limits_.max_samples ||
                             num_scalars > limits_.max_scalars ||
                             !Compatible(batches[0], *pending_))) {
      break;
    }
    batches.push_back(*std::move(pending_));
    pending_.reset();
  }
  if (batches.empty()) return std::nullopt;
  INFLUENCE_ASSIGN_OR_RETURN(
      Batch merged, CatchTorch("merged batch", [&]() -> absl::StatusOr<Batch> {
        return Concatenate(batches);
      }));
  return MergedBatch{std::move(merged), static_cast<int64_t>(batches.size())};
}

}  // namespace influence
