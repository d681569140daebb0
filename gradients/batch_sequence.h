// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A data set cut into batches that can be read in any order and more than once.
#ifndef INFLUENCE_GRADIENTS_BATCH_SEQUENCE_H_
#define INFLUENCE_GRADIENTS_BATCH_SEQUENCE_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "gradients/batch.h"

namespace influence {

// Implementations are thread-safe: threads may call Get() at the same time.
class BatchSequence {
 public:
  virtual ~BatchSequence() = default;

  virtual int64_t num_batches() const = 0;

  // The sum of the batches' sizes.
  virtual int64_t num_samples() const = 0;

  // Batch `index` in [0, num_batches()); the samples keep their order.
  // kOutOfRange for another index; reading errors as they come.
  virtual absl::StatusOr<Batch> Get(int64_t index) const = 0;

  // The number of samples of batch `index`; errors as of Get(), which this
  // calls unless the implementation knows better.
  virtual absl::StatusOr<int64_t> BatchSize(int64_t index) const;
};

// Tensors in memory, cut into batches of `batch_size` samples (the last one may
// be shorter), which are views.
class TensorBatchSequence : public BatchSequence {
 public:
  // kInvalidArgument if `data` fails ValidateBatch() or batch_size < 1.
  static absl::StatusOr<TensorBatchSequence> Create(Batch data,
                                                    int64_t batch_size);

  int64_t num_batches() const override;
  int64_t num_samples() const override { return data_.size(); }
  absl::StatusOr<Batch> Get(int64_t index) const override;
  absl::StatusOr<int64_t> BatchSize(int64_t index) const override;

 private:
  TensorBatchSequence(Batch data, int64_t batch_size);

  Batch data_;
  int64_t batch_size_;
};

// One batch of a sequence as a sequence of its own.
class OneBatchSequence : public BatchSequence {
 public:
  // `data` is not null, 0 <= index < data->num_batches(), `num_samples` the
  // size of that batch.
  OneBatchSequence(std::shared_ptr<const BatchSequence> data, int64_t index,
                   int64_t num_samples);

  int64_t num_batches() const override { return 1; }
  int64_t num_samples() const override { return num_samples_; }
  absl::StatusOr<Batch> Get(int64_t index) const override;

 private:
  std::shared_ptr<const BatchSequence> data_;
  int64_t index_;
  int64_t num_samples_;
};

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_BATCH_SEQUENCE_H_
