// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Operators for the blocks of a partition of the parameters, mapped over the
// gradients of batches: results by block, as an ordered map or one block after
// the other on demand, and their sums over the blocks.
#ifndef INFLUENCE_INFLUENCE_BLOCK_MAPPER_H_
#define INFLUENCE_INFLUENCE_BLOCK_MAPPER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gradients/batch.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "gradients/tensor_map.h"
#include "influence/influence_mode.h"
#include "influence/operator_gradient_composition.h"
#include "influence/prepared_queries.h"
#include "operators/operator.h"

namespace influence {

// The blocks' results in order, each computed when it is asked for. For use by
// one thread; may outlive the mapper it came from.
class LazyBlockSequence {
 public:
  // The name and result of block number `block`.
  using Function = std::function<absl::StatusOr<TensorMap::Entry>(size_t)>;

  LazyBlockSequence(size_t num_blocks, Function function);

  // The next block, or nothing after the last one or after an error.
  absl::StatusOr<std::optional<TensorMap::Entry>> Next();

 private:
  size_t num_blocks_;
  size_t next_ = 0;
  Function function_;
};

// Immutable; as thread-safe as its parts; copies are cheap. One gradient pass
// over a batch serves all blocks. Shapes, `right` and `input` as in
// OperatorGradientComposition; a flat vector is the blocks' parts one after the
// other, of ParameterBlocks::size() scalars.
class BlockMapper {
 public:
  // operators[b] acts on blocks.blocks()[b]. `provider` gives the model and the
  // training loss, `query_provider` (provider where null) the query function of
  // the left side; their selections do not matter. kInvalidArgument, naming the
  // block, if an operator is missing, null or of another size.
  static absl::StatusOr<BlockMapper> Create(
      ParameterBlocks blocks,
      std::vector<std::shared_ptr<const Operator>> operators,
      const std::shared_ptr<const GradientProvider>& provider,
      const std::shared_ptr<const GradientProvider>& query_provider = nullptr);

  const ParameterBlocks& blocks() const;

  // Of each block, in order.
  const std::vector<std::shared_ptr<const Operator>>& operators() const;

  // The part of one block. kNotFound, listing the names, for another name.
  absl::StatusOr<OperatorGradientComposition> composition(
      absl::string_view block) const;

  // By block, in the blocks' order.
  absl::StatusOr<TensorMap> TransformedGrads(const Batch& batch) const;

  // The same. `reports` (not null) becomes how the blocks were solved for, as
  // PreparedQueries::solve_reports().
  absl::StatusOr<TensorMap> TransformedGradsWithReports(
      const Batch& batch, std::vector<BlockSolveReports>* reports) const;

  absl::StatusOr<TensorMap> Interactions(const Batch& left,
                                         const std::optional<Batch>& right,
                                         InfluenceMode mode,
                                         int64_t input = 0) const;
  // left_factors: flat [M, P], or an entry [M, P_b] per block. kInvalidArgument
  // naming both sizes, or a block that is missing, unknown or mis-sized.
  absl::StatusOr<TensorMap> InteractionsFromTransformedGrads(
      const at::Tensor& left_factors, const Batch& right, InfluenceMode mode,
      int64_t input = 0) const;
  absl::StatusOr<TensorMap> InteractionsFromTransformedGrads(
      const TensorMap& left_factors, const Batch& right, InfluenceMode mode,
      int64_t input = 0) const;

  // The same one block at a time. What all blocks share (the gradients) is
  // computed by the first Next().
  LazyBlockSequence GenerateTransformedGrads(Batch batch) const;
  LazyBlockSequence GenerateInteractions(Batch left, std::optional<Batch> right,
                                         InfluenceMode mode,
                                         int64_t input = 0) const;
  absl::StatusOr<LazyBlockSequence> GenerateInteractionsFromTransformedGrads(
      const at::Tensor& left_factors, Batch right, InfluenceMode mode,
      int64_t input = 0) const;
  absl::StatusOr<LazyBlockSequence> GenerateInteractionsFromTransformedGrads(
      const TensorMap& left_factors, Batch right, InfluenceMode mode,
      int64_t input = 0) const;

  // The blocks' transformed gradients side by side, flat [M, P].
  absl::StatusOr<at::Tensor> FlatTransformedGrads(const Batch& batch) const;

  // Sums over the blocks, without keeping a result per block.
  absl::StatusOr<at::Tensor> SummedInteractions(
      const Batch& left, const std::optional<Batch>& right, InfluenceMode mode,
      int64_t input = 0) const;
  absl::StatusOr<std::unique_ptr<const PreparedQueries>> PrepareQueries(
      const Batch& left) const;

  // Of each sample with itself, [N]: the diagonal of SummedInteractions(batch,
  // batch, kUp) without the rest of it. `reports`, unless null, becomes how the
  // blocks were solved for, as PreparedQueries::solve_reports().
  absl::StatusOr<at::Tensor> SelfInteractions(
      const Batch& batch,
      std::vector<BlockSolveReports>* reports = nullptr) const;
  absl::StatusOr<at::Tensor> SummedInteractionsFromTransformedGrads(
      const at::Tensor& left_factors, const Batch& right, InfluenceMode mode,
      int64_t input = 0) const;

  // The same with the right samples' gradients in their place, of the blocks'
  // parameters in their order; kUp. kInvalidArgument if they are of others.
  absl::StatusOr<TensorMap> InteractionsFromTransformedGrads(
      const at::Tensor& left_factors, const FactoredGradients& right) const;
  absl::StatusOr<LazyBlockSequence> GenerateInteractionsFromTransformedGrads(
      const at::Tensor& left_factors, FactoredGradients right) const;
  absl::StatusOr<at::Tensor> SummedInteractionsFromTransformedGrads(
      const at::Tensor& left_factors, const FactoredGradients& right) const;

  struct Parts;  // Internal.

 private:
  explicit BlockMapper(std::shared_ptr<const Parts> parts);

  std::shared_ptr<const Parts> parts_;
};

}  // namespace influence

#endif  // INFLUENCE_INFLUENCE_BLOCK_MAPPER_H_
