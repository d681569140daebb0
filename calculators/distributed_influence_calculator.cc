// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/distributed_influence_calculator.h"

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "calculators/lazy_chunk_sequence.h"
#include "calculators/parallel_influence_calculator.h"
#include "calculators/rank_chunks.h"
#include "calculators/sequential_influence_calculator.h"
#include "calculators/tile_workers.h"
#include "gradients/batch_sequence.h"
#include "influence/influence_function_model.h"
#include "influence/influence_mode.h"

namespace influence {

absl::StatusOr<DistributedInfluenceCalculator>
DistributedInfluenceCalculator::Create(
    std::shared_ptr<const InfluenceFunctionModel> model,
    std::shared_ptr<Communicator> communicator, const WorkerOptions& workers) {
  // Its check of model and workers.
  INFLUENCE_RETURN_IF_ERROR(
      ParallelInfluenceCalculator::Create(model, workers).status());
  return Create(std::move(model), std::move(communicator), workers,
                DisableSingleThreadCheck());
}

absl::StatusOr<DistributedInfluenceCalculator>
DistributedInfluenceCalculator::Create(
    std::shared_ptr<const InfluenceFunctionModel> model,
    std::shared_ptr<Communicator> communicator, const WorkerOptions& workers,
    DisableSingleThreadCheck /*disabled*/) {
  INFLUENCE_RETURN_IF_ERROR(ValidateWorkerOptions(workers));
  if (communicator == nullptr) {
    return absl::InvalidArgumentError(
        "communicator: found null, expected that of the ranks");
  }
  RankOptions ranks;
  ranks.communicator = std::move(communicator);
  ranks.workers = workers;
  ranks.together = model != nullptr && model->solves_together();
  INFLUENCE_ASSIGN_OR_RETURN(
      SequentialInfluenceCalculator sequential,
      SequentialInfluenceCalculator::Create(std::move(model)));
  return DistributedInfluenceCalculator(std::move(sequential),
                                        std::move(ranks));
}

LazyChunkSequence DistributedInfluenceCalculator::InfluenceFactors(
    std::shared_ptr<const BatchSequence> data) const {
  return sequential_.InfluenceFactors(std::move(data)).WithRanks(ranks_);
}

NestedLazyChunkSequence DistributedInfluenceCalculator::Influences(
    std::shared_ptr<const BatchSequence> test,
    std::shared_ptr<const BatchSequence> train, InfluenceMode mode,
    int64_t input) const {
  return sequential_.Influences(std::move(test), std::move(train), mode, input)
      .WithRanks(ranks_);
}

NestedLazyChunkSequence DistributedInfluenceCalculator::InfluencesFromFactors(
    LazyChunkSequence factors, std::shared_ptr<const BatchSequence> train,
    InfluenceMode mode, int64_t input) const {
  return sequential_
      .InfluencesFromFactors(std::move(factors), std::move(train), mode, input)
      .WithRanks(ranks_);
}

}  // namespace influence
