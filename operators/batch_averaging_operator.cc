// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/batch_averaging_operator.h"

#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gradients/batch_merger.h"
#include "gradients/model.h"

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
  if (options.merge_small_batches && options.averaging != nullptr) {
    return absl::InvalidArgumentError(
        "merge_small_batches: found beside an averaging, expected without");
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
  BatchMergeLimits limits{/*max_samples=*/0, /*max_scalars=*/0};
  if (options_.merge_small_batches) {
    limits =
        MergeLimitsForModel(operation_->provider().model().num_parameters());
  }
  BatchMerger merger(*data_, limits);
  INFLUENCE_ASSIGN_OR_RETURN(
      at::Tensor mean,
      options_.averaging->Average(
          [&]() -> absl::StatusOr<std::optional<AveragingTerm>> {
            INFLUENCE_ASSIGN_OR_RETURN(std::optional<MergedBatch> merged,
                                       merger.Next());
            if (!merged.has_value()) return std::nullopt;
            INFLUENCE_ASSIGN_OR_RETURN(
                at::Tensor product, operation_->Apply(merged->batch, matrix));
            return AveragingTerm{std::move(product), merged->batch.size()};
          }));
  return mean.add(matrix, options_.regularization);
}

}  // namespace influence
