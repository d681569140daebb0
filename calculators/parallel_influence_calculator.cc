// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/parallel_influence_calculator.h"

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "calculators/lazy_chunk_sequence.h"
#include "calculators/sequential_influence_calculator.h"
#include "calculators/tile_workers.h"
#include "gradients/batch_sequence.h"
#include "influence/influence_function_model.h"
#include "influence/influence_mode.h"

namespace influence {

absl::StatusOr<ParallelInfluenceCalculator> ParallelInfluenceCalculator::Create(
    std::shared_ptr<const InfluenceFunctionModel> model,
    const WorkerOptions& workers) {
  const int num_workers =
      workers.num_workers > 0 ? workers.num_workers : DefaultNumWorkers();
  if (model != nullptr && !model->is_thread_safe() && num_workers > 1) {
    return absl::FailedPreconditionError(
        absl::StrCat("num_workers: found ", num_workers,
                     " for a model that is not thread-safe, expected 1, or "
                     "DisableSingleThreadCheck"));
  }
  return Create(std::move(model), workers, DisableSingleThreadCheck());
}

absl::StatusOr<ParallelInfluenceCalculator> ParallelInfluenceCalculator::Create(
    std::shared_ptr<const InfluenceFunctionModel> model,
    const WorkerOptions& workers, DisableSingleThreadCheck /*disabled*/) {
  INFLUENCE_RETURN_IF_ERROR(ValidateWorkerOptions(workers));
  INFLUENCE_ASSIGN_OR_RETURN(
      SequentialInfluenceCalculator sequential,
      SequentialInfluenceCalculator::Create(std::move(model)));
  WorkerOptions filled = workers;
  if (filled.num_workers == 0) filled.num_workers = DefaultNumWorkers();
  return ParallelInfluenceCalculator(std::move(sequential), std::move(filled));
}

LazyChunkSequence ParallelInfluenceCalculator::InfluenceFactors(
    std::shared_ptr<const BatchSequence> data) const {
  return sequential_.InfluenceFactors(std::move(data)).WithWorkers(workers_);
}

NestedLazyChunkSequence ParallelInfluenceCalculator::Influences(
    std::shared_ptr<const BatchSequence> test,
    std::shared_ptr<const BatchSequence> train, InfluenceMode mode,
    int64_t input) const {
  return sequential_.Influences(std::move(test), std::move(train), mode, input)
      .WithWorkers(workers_);
}

NestedLazyChunkSequence ParallelInfluenceCalculator::InfluencesFromFactors(
    LazyChunkSequence factors, std::shared_ptr<const BatchSequence> train,
    InfluenceMode mode, int64_t input) const {
  return sequential_
      .InfluencesFromFactors(std::move(factors), std::move(train), mode, input)
      .WithWorkers(workers_);
}

}  // namespace influence
