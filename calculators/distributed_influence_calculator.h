// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Influences over data sets by the ranks of a job: as the sequential
// calculator, with tiles that the ranks share out.
//
//   INFLUENCE_ASSIGN_OR_RETURN(
//       const std::shared_ptr<Communicator> communicator, JoinProcessGroup());
//   // Fit a model whose options have the communicator, on every rank; then
//   INFLUENCE_ASSIGN_OR_RETURN(
//       const auto calculator,
//       DistributedInfluenceCalculator::Create(model, communicator));
//   INFLUENCE_RETURN_IF_ERROR(
//       calculator.Influences(test, train).ToZarr("scores.zarr"));
//
// ToZarr() is the way for many tiles: each rank takes the next ones from a
// shared counter whenever it is ready, and writes them into the one store.
// Compute() gives every rank all the tiles, which costs sending each to all.
#ifndef INFLUENCE_CALCULATORS_DISTRIBUTED_INFLUENCE_CALCULATOR_H_
#define INFLUENCE_CALCULATORS_DISTRIBUTED_INFLUENCE_CALCULATOR_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "calculators/lazy_chunk_sequence.h"
#include "calculators/parallel_influence_calculator.h"
#include "calculators/rank_chunks.h"
#include "calculators/sequential_influence_calculator.h"
#include "calculators/tile_workers.h"
#include "gradients/batch_sequence.h"
#include "influence/influence_function_model.h"
#include "influence/influence_mode.h"

namespace influence {

// Immutable; copies share model and communicator. Every rank has one of these,
// of models that were fitted together or restored from the same state, and
// makes the same calls with the same data, in the same order: what is returned
// is lazy, and to compute it is collective (LazyChunkSequence::WithRanks()).
//
// From the same fitted state the results have the same bits for every number of
// ranks, with one LibTorch thread each, where the model does not
// solves_together(); where it does, sums over the ranks' data are added in
// another order. Queries are then prepared by all ranks together, row by row;
// else by the ranks that need them.
class DistributedInfluenceCalculator {
 public:
  // workers: of each rank, for tiles that go to a store; one where it is not
  // given. kInvalidArgument if `model` or `communicator` is null or an option
  // out of range; kFailedPrecondition if the model is not thread-safe and a
  // rank would have more than one worker.
  static absl::StatusOr<DistributedInfluenceCalculator> Create(
      std::shared_ptr<const InfluenceFunctionModel> model,
      std::shared_ptr<Communicator> communicator,
      const WorkerOptions& workers = {.num_workers = 1});

  // Without the last check.
  static absl::StatusOr<DistributedInfluenceCalculator> Create(
      std::shared_ptr<const InfluenceFunctionModel> model,
      std::shared_ptr<Communicator> communicator, const WorkerOptions& workers,
      DisableSingleThreadCheck disabled);

  // P of the model.
  int64_t num_parameters() const { return sequential_.num_parameters(); }

  // Each as SequentialInfluenceCalculator's. `factors`: a sequence that every
  // rank can compute, as that of InfluenceFactors().
  LazyChunkSequence InfluenceFactors(
      std::shared_ptr<const BatchSequence> data) const;
  NestedLazyChunkSequence Influences(
      std::shared_ptr<const BatchSequence> test,
      std::shared_ptr<const BatchSequence> train = nullptr,
      InfluenceMode mode = InfluenceMode::kUp, int64_t input = 0) const;
  NestedLazyChunkSequence InfluencesFromFactors(
      LazyChunkSequence factors, std::shared_ptr<const BatchSequence> train,
      InfluenceMode mode = InfluenceMode::kUp, int64_t input = 0) const;

 private:
  DistributedInfluenceCalculator(SequentialInfluenceCalculator sequential,
                                 RankOptions ranks)
      : sequential_(std::move(sequential)), ranks_(std::move(ranks)) {}

  SequentialInfluenceCalculator sequential_;
  RankOptions ranks_;
};

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_DISTRIBUTED_INFLUENCE_CALCULATOR_H_
