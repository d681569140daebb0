// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What becomes of the chunks of a lazy sequence in memory. One's own, here the
// largest score of each query:
//
//   class RowMaximum : public NestedSequenceAggregator<at::Tensor> {
//    public:
//     absl::Status Begin(int64_t, int64_t) override;
//     absl::Status Add(int64_t row, int64_t column,
//                      const at::Tensor& tile) override;
//     absl::StatusOr<at::Tensor> Finish() override;
//   };
#ifndef INFLUENCE_CALCULATORS_AGGREGATORS_H_
#define INFLUENCE_CALCULATORS_AGGREGATORS_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calculators/chunk_sink.h"

namespace influence {

// The chunks as they are, in order.
class ListAggregator : public SequenceAggregator<std::vector<at::Tensor>> {
 public:
  absl::Status Begin(int64_t num_chunks) override;
  absl::Status Add(int64_t index, const at::Tensor& chunk) override;
  absl::StatusOr<std::vector<at::Tensor>> Finish() override;

 private:
  std::vector<at::Tensor> chunks_;
};

// The chunks as one tensor, concatenated along dimension 0. Finish() needs the
// result's memory twice. kFailedPrecondition if there is no chunk,
// kInvalidArgument if dtypes or trailing shapes differ.
class CatAggregator : public SequenceAggregator<at::Tensor> {
 public:
  absl::Status Begin(int64_t num_chunks) override;
  absl::Status Add(int64_t index, const at::Tensor& chunk) override;
  absl::StatusOr<at::Tensor> Finish() override;

 private:
  std::vector<at::Tensor> chunks_;
};

// The tiles as one tensor, concatenated along dimensions 0 and 1. Memory and
// errors as CatAggregator.
class NestedCatAggregator : public NestedSequenceAggregator<at::Tensor> {
 public:
  absl::Status Begin(int64_t row_chunks, int64_t column_chunks) override;
  absl::Status Add(int64_t row, int64_t column,
                   const at::Tensor& tile) override;
  absl::StatusOr<at::Tensor> Finish() override;

 private:
  absl::Status FinishRow();

  std::vector<at::Tensor> rows_;   // Complete ones.
  std::vector<at::Tensor> tiles_;  // Of the row that is being filled.
};

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_AGGREGATORS_H_
