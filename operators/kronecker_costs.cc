// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/kronecker_costs.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "gradients/affine_layers.h"
#include "gradients/factored_gradients.h"
#include "operators/kronecker_layers.h"
#include "operators/second_moment.h"
#include "operators/shared_eigendecomposition.h"

namespace influence {
namespace {

// One side of a layer, all groups together.
struct SideCost {
  bool is_dense = false;
  int64_t rank = 0;          // Eigenvectors, at most.
  int64_t statistics = 0;    // Bytes.
  int64_t eigenvectors = 0;  // Bytes.
  int64_t workspace = 0;     // Bytes of a decomposition beside both.
  double operations = 0;     // Of the decomposition.
  double sum_operations = 0;
};

SideCost CostOfSide(int64_t groups, int64_t width, int64_t num_rows,
                    int64_t item_size) {
  SideCost cost;
  const int64_t square = 8 * groups * width * width;
  if (num_rows > SecondMoment::MostRows(width)) {
    cost.is_dense = true;
    cost.rank = width;
    cost.statistics = square;
    cost.eigenvectors = square;
    // The result, and LAPACK's twice as much.
    cost.workspace = 8 * width * width * 2 + square;
    cost.operations = EigendecompositionCost(groups, width);
    cost.sum_operations = static_cast<double>(num_rows) *
                          static_cast<double>(groups * width * width);
    return cost;
  }
  cost.rank = std::max<int64_t>(1, num_rows);
  cost.statistics = groups * width * num_rows * item_size;
  cost.eigenvectors = 8 * groups * width * cost.rank;
  // Rows in float64, their basis and its product with the rotation.
  cost.workspace = 2 * cost.eigenvectors + 40 * groups * cost.rank * cost.rank;
  cost.operations = EigendecompositionCost(groups, width, cost.rank);
  return cost;
}

// Operations of the second pass over one sample of one group.
double SquareOperations(const KroneckerLayerSize& layer, int64_t input_rank,
                        int64_t gradient_rank) {
  const auto i = static_cast<double>(layer.inputs);
  const auto o = static_cast<double>(layer.outputs);
  const auto r = static_cast<double>(input_rank);
  const auto q = static_cast<double>(gradient_rank);
  const auto t = static_cast<double>(layer.positions);
  if (layer.positions <= 1) return 2 * (i * r + o * q + r * q);
  return 2 * (t * o * i + i * r * std::min(t, o) + o * q * std::min(t, i));
}

// Bytes of decompositions, operations and bytes each, as
// EigendecomposeTogether() goes about them: one that is much more than a
// thread's part alone, others side by side.
int64_t DecompositionWorkspace(
    std::vector<std::pair<double, int64_t>> workspaces, int num_threads) {
  std::sort(workspaces.rbegin(), workspaces.rend());
  double rest = 0;
  for (const auto& [operations, bytes] : workspaces) rest += operations;
  int64_t most = 0;
  size_t next = 0;
  for (; next < workspaces.size(); ++next) {
    const auto& [operations, bytes] = workspaces[next];
    if (!TakesAllThreads(operations, rest, num_threads)) break;
    most = std::max(most, bytes);
    rest -= operations;
  }
  int64_t together = 0;
  for (int t = 0; t < num_threads && next < workspaces.size(); ++t, ++next) {
    together += workspaces[next].second;
  }
  return std::max(most, together);
}

}  // namespace

absl::StatusOr<std::vector<KroneckerLayerSize>> MeasureKroneckerLayers(
    const KroneckerLayers& layers, const FactoredGradients& gradients,
    const std::vector<int64_t>& positions) {
  std::vector<KroneckerLayerSize> sizes;
  for (const KroneckerLayer& layer : layers.layers) {
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::vector<LayerFactors> uses,
        FactorsOfLayer(layer.affine,
                       gradients.parameters()[positions[layer.affine.weight]],
                       /*bias=*/nullptr));
    KroneckerLayerSize size;
    size.name = layer.name;
    size.groups = layer.affine.groups;
    size.inputs = layer.num_inputs();
    size.outputs = layer.affine.outputs;
    for (const LayerFactors& use : uses) size.positions += use.inputs.size(2);
    sizes.push_back(std::move(size));
  }
  return sizes;
}

KroneckerCosts EstimateKroneckerCosts(
    const std::vector<KroneckerLayerSize>& layers,
    const KroneckerCostOptions& options) {
  KroneckerCosts costs;
  // Of each decomposition; rows are decomposed one by one.
  int64_t rows_workspace = 0;
  std::vector<std::pair<double, int64_t>> workspaces;
  int64_t held = 0;  // Statistics or eigenvectors, whichever are larger.
  for (const KroneckerLayerSize& layer : layers) {
    const int64_t num_rows = options.num_samples * layer.positions;
    const SideCost inputs =
        CostOfSide(layer.groups, layer.inputs, num_rows, options.item_size);
    const SideCost outputs =
        CostOfSide(layer.groups, layer.outputs, num_rows * options.num_terms,
                   options.item_size);
    const int64_t squares = 8 * layer.groups * inputs.rank * outputs.rank;
    for (const SideCost& side : {inputs, outputs}) {
      costs.covariances += side.statistics;
      costs.eigenvectors += side.eigenvectors;
      held += std::max(side.statistics, side.eigenvectors);
      if (side.is_dense) {
        workspaces.emplace_back(side.operations, side.workspace);
      } else {
        rows_workspace = std::max(rows_workspace, side.workspace);
      }
      costs.decomposition_operations += side.operations;
      costs.pass_operations += side.sum_operations;
    }
    costs.state += squares;
    if (options.is_ekfac) {
      costs.squares += squares;
      costs.pass_operations +=
          static_cast<double>(options.num_samples * options.num_terms *
                              layer.groups) *
          SquareOperations(layer, inputs.rank, outputs.rank);
    }
    // Eigenvectors, and 1 / (Lambda + lambda) twice.
    costs.inverse +=
        (inputs.eigenvectors + outputs.eigenvectors + 2 * squares) / 8 *
        options.item_size;
    const SideCost& larger =
        inputs.statistics >= outputs.statistics ? inputs : outputs;
    const int64_t bytes = inputs.statistics + outputs.statistics +
                          std::max(inputs.workspace, outputs.workspace);
    if (bytes > costs.largest_bytes) {
      costs.largest_bytes = bytes;
      costs.largest_layer = layer.name;
      costs.largest_rows = larger.rank;
    }
  }
  costs.rotations = costs.eigenvectors / 8 * options.item_size;
  costs.state += costs.eigenvectors;
  costs.decomposition =
      held +
      std::max(rows_workspace, DecompositionWorkspace(std::move(workspaces),
                                                      options.num_threads));
  if (!options.is_ekfac) costs.rotations = 0;
  return costs;
}

}  // namespace influence
