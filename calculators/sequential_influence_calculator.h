// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Influences over data sets that are read batch by batch, one batch at a time
// in the calling thread. Everything it returns is lazy (lazy_chunk_sequence.h):
//
//   INFLUENCE_ASSIGN_OR_RETURN(const auto calculator,
//                              SequentialInfluenceCalculator::Create(model));
//   const NestedLazyChunkSequence influences =
//       calculator.Influences(test, train);      // Computes nothing.
//   INFLUENCE_ASSIGN_OR_RETURN(at::Tensor scores,
//                              influences.Compute(NestedCatAggregator()));
//   INFLUENCE_RETURN_IF_ERROR(influences.ToNpy("scores.npy"));  // Or to disk.
#ifndef INFLUENCE_CALCULATORS_SEQUENTIAL_INFLUENCE_CALCULATOR_H_
#define INFLUENCE_CALCULATORS_SEQUENTIAL_INFLUENCE_CALCULATOR_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "calculators/lazy_chunk_sequence.h"
#include "gradients/batch_sequence.h"
#include "influence/influence_function_model.h"
#include "influence/influence_mode.h"

namespace influence {

// Immutable; copies share the model. The sequences it returns share model and
// data, and report their errors when they are computed: of the data as they
// come, kFailedPrecondition if the model is not fitted, kInvalidArgument if a
// data set is null or `mode` and the data do not go together.
class SequentialInfluenceCalculator {
 public:
  // kInvalidArgument if `model` is null.
  static absl::StatusOr<SequentialInfluenceCalculator> Create(
      std::shared_ptr<const InfluenceFunctionModel> model);

  // P of the model.
  int64_t num_parameters() const { return model_->num_parameters(); }

  // Rows A^-1 grad q(z_i), [M, P], a chunk for each batch of `data`.
  LazyChunkSequence InfluenceFactors(
      std::shared_ptr<const BatchSequence> data) const;

  // [M, N] or, with kPerturbation, [M, N, *x]: a row of tiles for each batch of
  // `test`, a column for each batch of `train` (`test` where left out). A batch
  // of queries is prepared once, and met by one pass over `train`: large
  // batches of queries mean few passes. `input`: see InfluenceFunctionModel.
  NestedLazyChunkSequence Influences(
      std::shared_ptr<const BatchSequence> test,
      std::shared_ptr<const BatchSequence> train = nullptr,
      InfluenceMode mode = InfluenceMode::kUp, int64_t input = 0) const;

  // The same from factors: what InfluenceFactors() returns, or chunks [m, P]
  // from elsewhere. A chunk of factors is computed once.
  NestedLazyChunkSequence InfluencesFromFactors(
      LazyChunkSequence factors, std::shared_ptr<const BatchSequence> train,
      InfluenceMode mode = InfluenceMode::kUp, int64_t input = 0) const;

 private:
  explicit SequentialInfluenceCalculator(
      std::shared_ptr<const InfluenceFunctionModel> model);

  std::shared_ptr<const InfluenceFunctionModel> model_;  // Never null.
};

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_SEQUENTIAL_INFLUENCE_CALCULATOR_H_
