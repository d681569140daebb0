// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The curvature of the mean loss over a data set, formed as a dense matrix for
// each block of parameters. For small blocks: P_b^2 numbers each.
#ifndef INFLUENCE_OPERATORS_DENSE_CURVATURE_H_
#define INFLUENCE_OPERATORS_DENSE_CURVATURE_H_

#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "base/progress.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "operators/curvature.h"

namespace influence {

struct DenseCurvatureOptions {
  // At most this many of LibTorch's threads share the columns, each with a
  // graph of its own; 0 means all of them. Changes nothing but rounding.
  int num_threads = 0;

  // The processes that form the curvature together, as of KroneckerFitOptions:
  // each sums its share of the batches, and one all-reduce a block gives every
  // rank all of it. Null means this one alone.
  std::shared_ptr<Communicator> communicator = nullptr;
};

// The diagonal block C_b [P_b, P_b] of C for each of `blocks`, in their order:
// float64 whatever the model's dtype, exactly symmetric, the mean over all
// samples of `data`. Entries of one batch are computed in the model's dtype and
// batches are added up in float64. `provider` gives the model and the loss; its
// selection does not matter.
//
// Reads the data once and tells `progress` after each batch. Hessian and
// generalised Gauss-Newton: the products with the unit vectors, P_b of them for
// each batch, where consecutive batches too small to outweigh a product's
// overhead count as one, within MergeLimitsForModel() (batch_merger.h); second
// derivatives are taken only among parameters of one block and, by symmetry,
// only once for each pair of parameters. Gauss-Newton: the gradients in tiles
// of bounded size and a matrix product, 2 N P_b^2 operations. Memory beyond the
// result: the graph of one (merged) batch a thread, or the factors of its
// gradients and a tile; never [N, P].
//
// kInvalidArgument on an empty data set, a batch that fails ValidateBatch(), or
// an entry of C that is not finite (naming the block), or if an operator has no
// second derivative or a wrong one (second_derivative_check.h).
absl::StatusOr<std::vector<at::Tensor>> FormDenseCurvature(
    Curvature curvature, const GradientProvider& provider,
    const ParameterBlocks& blocks, const BatchSequence& data,
    const DenseCurvatureOptions& options = {},
    ProgressReporter* progress = nullptr);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_DENSE_CURVATURE_H_
