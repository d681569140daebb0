// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Influences over data sets with all cores of one machine: as the sequential
// calculator, with tiles computed by several workers at a time.
//
//   INFLUENCE_ASSIGN_OR_RETURN(
//       const auto calculator,
//       ParallelInfluenceCalculator::Create(model, {.num_workers = 4}));
//   INFLUENCE_RETURN_IF_ERROR(
//       calculator.Influences(test, train).ToZarr("scores.zarr"));
//
// Cores are used between tiles or within them: W workers with one LibTorch
// thread each, as here, or one worker (the sequential calculator) with W
// threads. Between tiles is faster wherever there are tiles enough: a worker
// never waits for others within a tile, and every operation runs side by side,
// also those that LibTorch runs on one thread. Measured for EKFAC scores by
// benchmarks/parallel_scores_benchmark (November 2026, two cores at 2.6 GHz,
// LibTorch 2.13.0, 8 and 16 tiles of a perceptron and of a convolutional
// network): 0.56 of the time of one thread with two workers, 0.80 with one
// worker of two threads. Within tiles is the better choice for a single large
// tile, for a method whose queries are solved for by iteration in few rows (the
// rows are the work then), and where memory is for one tile only.
#ifndef INFLUENCE_CALCULATORS_PARALLEL_INFLUENCE_CALCULATOR_H_
#define INFLUENCE_CALCULATORS_PARALLEL_INFLUENCE_CALCULATOR_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "calculators/lazy_chunk_sequence.h"
#include "calculators/sequential_influence_calculator.h"
#include "calculators/tile_workers.h"
#include "gradients/batch_sequence.h"
#include "influence/influence_function_model.h"
#include "influence/influence_mode.h"

namespace influence {

// Says that a model which is not thread-safe may be used by several workers all
// the same: for one that is known to be, or to find out.
struct DisableSingleThreadCheck {};

// Immutable; copies share the model. What it returns is lazy, with errors as of
// SequentialInfluenceCalculator's, and computed by `workers`
// (lazy_chunk_sequence.h): the data sets, the model's methods and the chunks of
// factors are used by several threads at a time. From one fitted model the
// results have the same bits for every number of workers, and those of the
// sequential calculator on one LibTorch thread; but where the model uses fused
// attention, from which the sequential ones may differ by rounding
// (RunTileWorkers()).
//
// Memory beside that of the model and the result: for each worker what one tile
// needs, MaxOpenRows() prepared batches of queries, and for sinks that want the
// tiles in order as many finished ones as the window has.
class ParallelInfluenceCalculator {
 public:
  // kInvalidArgument if `model` is null or an option out of range;
  // kFailedPrecondition if the model is not thread-safe and there would be more
  // than one worker.
  static absl::StatusOr<ParallelInfluenceCalculator> Create(
      std::shared_ptr<const InfluenceFunctionModel> model,
      const WorkerOptions& workers = {});

  // Without the last check.
  static absl::StatusOr<ParallelInfluenceCalculator> Create(
      std::shared_ptr<const InfluenceFunctionModel> model,
      const WorkerOptions& workers, DisableSingleThreadCheck disabled);

  // P of the model.
  int64_t num_parameters() const { return sequential_.num_parameters(); }

  // The options given, with the number of workers filled in.
  const WorkerOptions& workers() const { return workers_; }

  // Each as SequentialInfluenceCalculator's. A batch of queries is prepared
  // once, by one worker.
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
  ParallelInfluenceCalculator(SequentialInfluenceCalculator sequential,
                              WorkerOptions workers)
      : sequential_(std::move(sequential)), workers_(std::move(workers)) {}

  SequentialInfluenceCalculator sequential_;
  WorkerOptions workers_;
};

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_PARALLEL_INFLUENCE_CALCULATOR_H_
