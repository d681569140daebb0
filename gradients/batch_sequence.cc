// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/batch_sequence.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gradients/batch.h"

namespace influence {

absl::StatusOr<int64_t> BatchSequence::BatchSize(int64_t index) const {
  INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, Get(index));
  return batch.size();
}

absl::StatusOr<TensorBatchSequence> TensorBatchSequence::Create(
    Batch data, int64_t batch_size) {
  INFLUENCE_RETURN_IF_ERROR(ValidateBatch(data));
  if (batch_size < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("batch size: found ", batch_size, ", expected >= 1"));
  }
  return TensorBatchSequence(std::move(data), batch_size);
}

TensorBatchSequence::TensorBatchSequence(Batch data, int64_t batch_size)
    : data_(std::move(data)), batch_size_(std::min(batch_size, data_.size())) {}

int64_t TensorBatchSequence::num_batches() const {
  return (data_.size() + batch_size_ - 1) / batch_size_;
}

absl::StatusOr<int64_t> TensorBatchSequence::BatchSize(int64_t index) const {
  if (index < 0 || index >= num_batches()) {
    return absl::OutOfRangeError(absl::StrCat(
        "batch: found index ", index, ", expected [0, ", num_batches(), ")"));
  }
  return std::min(batch_size_, data_.size() - index * batch_size_);
}

absl::StatusOr<Batch> TensorBatchSequence::Get(int64_t index) const {
  INFLUENCE_ASSIGN_OR_RETURN(const int64_t size, BatchSize(index));
  const int64_t begin = index * batch_size_;
  return SliceBatch(data_, begin, begin + size);
}

OneBatchSequence::OneBatchSequence(std::shared_ptr<const BatchSequence> data,
                                   int64_t index, int64_t num_samples)
    : data_(std::move(data)), index_(index), num_samples_(num_samples) {
  INFLUENCE_CHECK(data_ != nullptr);
}

absl::StatusOr<Batch> OneBatchSequence::Get(int64_t index) const {
  if (index == 0) return data_->Get(index_);
  return absl::OutOfRangeError(
      absl::StrCat("batch: found index ", index, ", expected 0"));
}

}  // namespace influence
