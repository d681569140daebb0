// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/sample_range.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "gradients/batch.h"

namespace influence {

absl::StatusOr<std::shared_ptr<const SampleRange>> SampleRange::Create(
    std::shared_ptr<const BatchSequence> data, int64_t begin, int64_t end) {
  if (data == nullptr) return absl::InvalidArgumentError("data: is null");
  if (begin < 0 || begin > end || end > data->num_samples()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "samples: found [", begin, ", ", end, "), expected a range within [0, ",
        data->num_samples(), ")"));
  }
  std::shared_ptr<SampleRange> range(new SampleRange(std::move(data)));
  range->num_samples_ = end - begin;
  int64_t first = 0;  // Sample of the batch.
  for (int64_t batch = 0; first < end; ++batch) {
    INFLUENCE_ASSIGN_OR_RETURN(const int64_t size,
                               range->data_->BatchSize(batch));
    const Part part = {batch, std::max<int64_t>(begin - first, 0),
                       std::min(end - first, size), false};
    if (part.begin < part.end) {
      range->parts_.push_back(part);
      range->parts_.back().is_cut = part.end - part.begin < size;
    }
    first += size;
  }
  return range;
}

int64_t SampleRange::num_batches() const {
  return static_cast<int64_t>(parts_.size());
}

absl::StatusOr<SampleRange::Part> SampleRange::PartOf(int64_t index) const {
  if (index >= 0 && index < num_batches()) return parts_[index];
  return absl::OutOfRangeError(absl::StrCat(
      "batch: found index ", index, ", expected [0, ", num_batches(), ")"));
}

absl::StatusOr<int64_t> SampleRange::BatchSize(int64_t index) const {
  INFLUENCE_ASSIGN_OR_RETURN(const Part part, PartOf(index));
  return part.end - part.begin;
}

absl::StatusOr<Batch> SampleRange::Get(int64_t index) const {
  INFLUENCE_ASSIGN_OR_RETURN(const Part part, PartOf(index));
  INFLUENCE_ASSIGN_OR_RETURN(Batch batch, data_->Get(part.batch));
  if (!part.is_cut) return batch;
  return SliceBatch(batch, part.begin, part.end);
}

absl::StatusOr<std::shared_ptr<const BatchSequence>> SamplesOfRank(
    std::shared_ptr<const BatchSequence> data,
    const Communicator* communicator) {
  if (communicator == nullptr || communicator->size() == 1) return data;
  const RankShare share = ShareOf(data->num_samples(), communicator);
  return SampleRange::Create(std::move(data), share.begin, share.end);
}

}  // namespace influence
