// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Reads a data set's batches in order and puts consecutive small ones together,
// for work that costs a fixed overhead a batch and whose result is the same
// however the samples are batched.
#ifndef INFLUENCE_GRADIENTS_BATCH_MERGER_H_
#define INFLUENCE_GRADIENTS_BATCH_MERGER_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"

namespace influence {

// What a merged batch may not exceed, unless a single batch does.
struct BatchMergeLimits {
  int64_t max_samples = 4096;
  int64_t max_scalars = int64_t{1} << 20;  // In all inputs and labels.
};

// Limits for passes of a model of that many parameters, such that a merged
// batch has work enough to make the overhead small and its autograd graph stays
// small: also max_samples * num_parameters <= 2^22, at which a pass through
// linear layers takes some milliseconds.
BatchMergeLimits MergeLimitsForModel(int64_t num_parameters);

struct MergedBatch {
  Batch batch;
  int64_t num_batches;  // Of the sequence; the samples keep their order.
};

// For use by one thread. Batches are put together only if all their tensors
// have the same dtypes and the same shapes but for the number of samples.
class BatchMerger {
 public:
  // Borrows `data`, which must outlive this object.
  BatchMerger(const BatchSequence& data, const BatchMergeLimits& limits);

  // The next batches, or nothing after the last one. Reads each batch of the
  // data once. kInvalidArgument if one fails ValidateBatch(); reading errors as
  // they come.
  absl::StatusOr<std::optional<MergedBatch>> Next();

 private:
  // Batch number next_, validated.
  absl::StatusOr<Batch> Read();

  const BatchSequence& data_;
  BatchMergeLimits limits_;
  int64_t next_ = 0;
  std::optional<Batch> pending_;  // Read, but too large for the last result.
};

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_BATCH_MERGER_H_
