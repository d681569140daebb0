// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/batch_averaging_operator.h"

#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gradients/batch.h"

namespace influence {

absl::StatusOr<std::shared_ptr<const BatchAveragingOperator>>
BatchAveragingOperator::Create(std::shared_ptr<const BatchOperation> operation,
                               std::shared_ptr<const BatchSequence> data,
                               const BatchAveragingOptions& options) {
  if (operation == nullptr || data == nullptr) {
    return absl::InvalidArgumentError(
        operation == nullptr ? "operation: is null" : "data: is null");
  }
  if (data->num_batches() < 1) {
    return absl::InvalidArgumentError(
        "data: found no batch, expected at least one");
  }
  if (!std::isfinite(options.regularization)) {
    return absl::InvalidArgumentError(
        absl::StrCat("regularization: found ", options.regularization,
                     ", expected a finite value"));
  }
  BatchAveragingOptions completed = options;
  if (completed.averaging == nullptr) {
    completed.averaging = std::make_shared<const PointAveraging>();
  }
  return std::shared_ptr<const BatchAveragingOperator>(
      new BatchAveragingOperator(std::move(operation), std::move(data),
                                 std::move(completed)));
}

BatchAveragingOperator::BatchAveragingOperator(
    std::shared_ptr<const BatchOperation> operation,
    std::shared_ptr<const BatchSequence> data, BatchAveragingOptions options)
    : operation_(std::move(operation)),
      data_(std::move(data)),
      options_(std::move(options)) {}

absl::StatusOr<at::Tensor> BatchAveragingOperator::DoApply(
    const at::Tensor& matrix) const {
  int64_t next_batch = 0;
  INFLUENCE_ASSIGN_OR_RETURN(
      at::Tensor mean,
      options_.averaging->Average(
          [&]() -> absl::StatusOr<std::optional<AveragingTerm>> {
            if (next_batch == data_->num_batches()) return std::nullopt;
            INFLUENCE_ASSIGN_OR_RETURN(Batch batch, data_->Get(next_batch++));
            INFLUENCE_ASSIGN_OR_RETURN(at::Tensor product,
                                       operation_->Apply(batch, matrix));
            return AveragingTerm{std::move(product), batch.size()};
          }));
  return mean.add(matrix, options_.regularization);
}

}  // namespace influence
