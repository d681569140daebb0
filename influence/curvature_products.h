// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// How iterative methods take products with the curvature of a block: with the
// formed matrix, or from the model and the data at every product. The ranks of
// a job share the data out.
#ifndef INFLUENCE_INFLUENCE_CURVATURE_PRODUCTS_H_
#define INFLUENCE_INFLUENCE_CURVATURE_PRODUCTS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "base/progress.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "operators/curvature.h"
#include "operators/dense_curvature.h"
#include "operators/kept_curvature_operator.h"
#include "operators/low_rank.h"
#include "operators/rank_average.h"

namespace influence {

enum class CurvatureProducts {
  kAutomatic,   // kFormed where BlocksToForm() says so, else kMatrixFree.
  kFormed,      // From the dense matrix, formed by the fit: P_b products.
  kMatrixFree,  // From the model and the data, read at every product.
};

struct CurvatureProductsOptions {
  CurvatureProducts kind = CurvatureProducts::kAutomatic;

  // Of kAutomatic: how many queries are likely to be solved for in all, >= 1,
  // and what the formed matrices of all blocks may take, >= 0.
  int64_t expected_queries = 256;
  int64_t max_formed_bytes = int64_t{1} << 30;

  int num_threads = 0;  // Of the forming, as in DenseCurvatureOptions.
};

// kInvalidArgument, naming the option, if one is out of range.
absl::Status ValidateCurvatureProducts(const CurvatureProductsOptions& options);

// Which blocks to form, with `num_matrices` matrices of 8 P_b^2 bytes each,
// where a query takes `iterations` products of one of them. kAutomatic: those
// with num_matrices * P_b <= expected_queries * iterations, in their order as
// long as they fit in max_formed_bytes together.
std::vector<bool> BlocksToForm(const CurvatureProductsOptions& options,
                               const ParameterBlocks& blocks,
                               int64_t num_matrices, int64_t iterations);

// FormDenseCurvature() of the blocks that are true in `which`; undefined for
// the others. Reads nothing if none is.
absl::StatusOr<std::vector<at::Tensor>> FormSelectedBlocks(
    Curvature curvature, const GradientProvider& provider,
    const ParameterBlocks& blocks, const std::vector<bool>& which,
    const BatchSequence& data, const DenseCurvatureOptions& options = {},
    ProgressReporter* progress = nullptr);

// Products with the curvature of `block` over each of `data`, an operator each,
// of which every rank keeps the part of its samples (KeptCurvatureOperator)
// within memory_limit bytes for each. Collective; communicator: null for a
// process alone.
absl::StatusOr<std::shared_ptr<const RankAverage>> KeepCurvatureProducts(
    Curvature curvature, const GradientProvider& provider,
    const ParameterBlock& block,
    const std::vector<std::shared_ptr<const BatchSequence>>& data,
    const KeptCurvatureOptions& options,
    std::shared_ptr<Communicator> communicator);

// What `find` finds with products of `average` (RankAverage::LeadTensors()), on
// all ranks; U in memory as k contiguous rows.
absl::StatusOr<LowRank> LeadEigenpairs(
    const RankAverage& average,
    absl::FunctionRef<absl::StatusOr<LowRank>()> find);

}  // namespace influence

#endif  // INFLUENCE_INFLUENCE_CURVATURE_PRODUCTS_H_
