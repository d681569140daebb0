// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The average of a batch operation over a data set, plus a multiple of the
// identity, as an operator:
//   A v = sum_b w_b m(b) v / sum_b w_b + lambda v.
// With PointAveraging and a curvature operation that is (C + lambda I) v.
#ifndef INFLUENCE_OPERATORS_BATCH_AVERAGING_OPERATOR_H_
#define INFLUENCE_OPERATORS_BATCH_AVERAGING_OPERATOR_H_

#include <cstdint>
#include <memory>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/batch_sequence.h"
#include "operators/averaging.h"
#include "operators/batch_operation.h"
#include "operators/operator.h"

namespace influence {

struct BatchAveragingOptions {
  double regularization = 0;  // lambda: finite, any sign; added as lambda * I.

  // PointAveraging where not given.
  std::shared_ptr<const Averaging> averaging;

  // Takes consecutive small batches for one, within MergeLimitsForModel()
  // (batch_merger.h): the same up to rounding and less overhead. Without an
  // averaging of one's own.
  bool merge_small_batches = false;
};

// Thread-safe. Every Apply() reads all the data once, one (merged) batch in
// memory at a time, for all right-hand sides together.
class BatchAveragingOperator : public Operator {
 public:
  // kInvalidArgument if an argument is null, `data` has no batch, the
  // regularization is not finite or batches are merged for another averaging.
  static absl::StatusOr<std::shared_ptr<const BatchAveragingOperator>> Create(
      std::shared_ptr<const BatchOperation> operation,
      std::shared_ptr<const BatchSequence> data,
      const BatchAveragingOptions& options = {});

  int64_t input_size() const override { return operation_->input_size(); }

  double regularization() const { return options_.regularization; }

 protected:
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override;

 private:
  BatchAveragingOperator(std::shared_ptr<const BatchOperation> operation,
                         std::shared_ptr<const BatchSequence> data,
                         BatchAveragingOptions options);

  std::shared_ptr<const BatchOperation> operation_;
  std::shared_ptr<const BatchSequence> data_;
  BatchAveragingOptions options_;  // averaging is not null.
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_BATCH_AVERAGING_OPERATOR_H_
