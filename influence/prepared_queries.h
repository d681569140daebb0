// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The query side of scores, prepared once to be met by any number of batches of
// training samples: its gradients are taken, and solved for, a single time.
#ifndef INFLUENCE_INFLUENCE_PREPARED_QUERIES_H_
#define INFLUENCE_INFLUENCE_PREPARED_QUERIES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/batch.h"
#include "gradients/factored_gradients.h"
#include "gradients/tensor_map.h"
#include "influence/influence_mode.h"
#include "operators/solve_report.h"

namespace influence {

// How the queries were solved for in one block.
struct BlockSolveReports {
  std::string block;
  std::vector<SolveReport> reports;  // One a query, in their order.
};

// Immutable; as thread-safe as the model it came from.
class PreparedQueries {
 public:
  virtual ~PreparedQueries() = default;

  virtual int64_t num_queries() const = 0;  // M

  // As InfluenceFunctionModel::Influences(): [M, N], or [M, N, *shape of one
  // x].
  virtual absl::StatusOr<at::Tensor> Influences(
      const Batch& train, InfluenceMode mode = InfluenceMode::kUp,
      int64_t input = 0) const = 0;

  // The same, an entry per block. kUnimplemented if the model has no blocks.
  virtual absl::StatusOr<TensorMap> InfluencesByBlock(
      const Batch& train, InfluenceMode mode = InfluenceMode::kUp,
      int64_t input = 0) const = 0;

  // Influences() and InfluencesByBlock() with kUp, from the training samples'
  // gradients in place of the samples: those of the training loss, of the
  // blocks' parameters in their order, as GradientProvider::Restrict() gives
  // them. kUnimplemented if the model does not work on such gradients.
  virtual absl::StatusOr<at::Tensor> InfluencesFromGradients(
      const FactoredGradients& train) const;
  virtual absl::StatusOr<TensorMap> InfluencesFromGradientsByBlock(
      const FactoredGradients& train) const;

  // The blocks whose operator iterates, in order; empty where none does.
  virtual std::vector<BlockSolveReports> solve_reports() const { return {}; }
};

}  // namespace influence

#endif  // INFLUENCE_INFLUENCE_PREPARED_QUERIES_H_
