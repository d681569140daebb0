// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Consecutive samples of a data set: the part of it that one of several
// processes takes.
#ifndef INFLUENCE_GRADIENTS_SAMPLE_RANGE_H_
#define INFLUENCE_GRADIENTS_SAMPLE_RANGE_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"

namespace influence {

// Samples [begin, end) in the batches that they have in the whole, of which the
// first and the last may be cut. Reads no other batches.
class SampleRange : public BatchSequence {
 public:
  // Asks for the sizes of the batches up to `end`. kInvalidArgument if `data`
  // is null or not 0 <= begin <= end <= data->num_samples(), with the numbers.
  static absl::StatusOr<std::shared_ptr<const SampleRange>> Create(
      std::shared_ptr<const BatchSequence> data, int64_t begin, int64_t end);

  int64_t num_batches() const override;
  int64_t num_samples() const override { return num_samples_; }
  absl::StatusOr<Batch> Get(int64_t index) const override;
  absl::StatusOr<int64_t> BatchSize(int64_t index) const override;

 private:
  // Samples [begin, end) of a batch of the whole.
  struct Part {
    int64_t batch, begin, end;
    bool is_cut;
  };

  explicit SampleRange(std::shared_ptr<const BatchSequence> data)
      : data_(std::move(data)) {}

  absl::StatusOr<Part> PartOf(int64_t index) const;

  std::shared_ptr<const BatchSequence> data_;
  std::vector<Part> parts_;
  int64_t num_samples_ = 0;
};

// The samples of `data` (not null) that are this rank's (ShareOf()): all of
// them, as they are, where it is the only one or `communicator` is null. May be
// empty where there are fewer samples than ranks.
absl::StatusOr<std::shared_ptr<const BatchSequence>> SamplesOfRank(
    std::shared_ptr<const BatchSequence> data,
    const Communicator* communicator);

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_SAMPLE_RANGE_H_
