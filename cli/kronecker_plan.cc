// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/kronecker_plan.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/full.h"
#include "ATen/ops/linalg_eigh.h"
#include "ATen/ops/mm.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "cli/data_set.h"
#include "cli/method_factory.h"
#include "cli/method_options.h"
#include "cli/run_plan.h"
#include "gradients/batch.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "operators/fisher_gradients.h"
#include "operators/kronecker_costs.h"
#include "operators/kronecker_layers.h"

namespace influence {
namespace {

// Of the matrices that are timed: large enough for products at full rate.
constexpr int64_t kProductRows = 512;
constexpr int64_t kDecomposedRows = 256;

// Large decompositions are faster than the one that is timed.
constexpr double kGainOfLarge = 1.3;

// Decompositions of fewer operations take no time worth a measurement.
constexpr double kShortOperations = 1e8;

// Samples whose positions are looked at.
constexpr int64_t kSamples = 2;

double LeastSeconds(absl::FunctionRef<void()> work) {
  double least = std::numeric_limits<double>::infinity();
  for (int run = 0; run < 3; ++run) {
    const absl::Time start = absl::Now();
    work();
    least = std::min(least, absl::ToDoubleSeconds(absl::Now() - start));
  }
  return std::max(least, 1e-9);
}

}  // namespace

MachineRates MeasureRates(at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  MachineRates rates;
  const at::Tensor product =
      at::full({kProductRows, kProductRows}, 0.5, at::dtype(dtype));
  const auto rows = static_cast<double>(kProductRows);
  rates.products = 2 * rows * rows * rows /
                   LeastSeconds([&] { (void)at::mm(product, product); });
  // No special matrix: sines of a whole number's multiples.
  const at::Tensor waves =
      at::arange(kDecomposedRows * kDecomposedRows, at::kDouble)
          .mul(1.7)
          .sin()
          .view({kDecomposedRows, kDecomposedRows});
  const at::Tensor symmetric = waves.add(waves.t());
  const auto n = static_cast<double>(kDecomposedRows);
  rates.decompositions = kGainOfLarge * 9 * n * n * n / LeastSeconds([&] {
                           (void)at::linalg_eigh(symmetric);
                         });
  return rates;
}

void AddKroneckerFit(const KroneckerFitPlan& plan, PlanProblem& problem) {
  const KroneckerCosts& costs = plan.costs;
  problem.fitted_bytes = costs.state + plan.diagonal_bytes;
  problem.method_bytes = problem.fitted_bytes + costs.inverse;
  const auto beyond = [&](int64_t bytes) {
    return std::max<int64_t>(0, bytes - problem.method_bytes);
  };
  const int64_t sums =
      std::max(costs.covariances, costs.squares) + plan.diagonal_bytes;
  problem.fit_pass_bytes =
      beyond(plan.diagonal_bytes +
             std::max(costs.covariances,
                      costs.eigenvectors + costs.rotations + costs.squares));
  problem.fit_solve_bytes = beyond(plan.diagonal_bytes + costs.decomposition);
  const int64_t workers_bytes = (plan.num_threads - 1) * sums;
  if (plan.num_threads > 1 &&
      workers_bytes <= FitWorkerBytes(plan.memory_limit)) {
    problem.fit_workers = plan.num_threads;
    problem.fit_worker_bytes = workers_bytes;
  }
  problem.fit_seconds =
      costs.decomposition_operations / plan.rates.decompositions +
      costs.pass_operations / plan.rates.products;
  problem.largest_layer = costs.largest_layer;
  problem.largest_rows = costs.largest_rows;
  problem.largest_bytes = costs.largest_bytes;
}

absl::Status AddKroneckerFit(const MethodOptions& method,
                             const CapturingGradientProvider& provider,
                             const ParameterBlocks& blocks,
                             const DataSet& train,
                             std::optional<int64_t> memory_limit,
                             PlanProblem& problem) {
  const Model& model = provider.model();
  const KroneckerLayers layers = FindKroneckerLayers(
      model, provider.affine_layers(), blocks, method.max_factor_size);
  KroneckerFitPlan plan;
  plan.memory_limit = memory_limit;
  plan.num_threads = at::get_num_threads();
  if (method.uncovered == "diagonal") {
    for (const UncoveredParameter& parameter : layers.uncovered) {
      plan.diagonal_bytes +=
          8 * model.parameters()[parameter.parameter].tensor.numel();
    }
  }
  std::vector<int64_t> parameters;
  std::vector<int64_t> positions(model.parameters().size(), -1);
  for (const KroneckerLayer& layer : layers.layers) {
    positions[layer.affine.weight] = static_cast<int64_t>(parameters.size());
    parameters.push_back(layer.affine.weight);
  }
  if (!parameters.empty()) {
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::shared_ptr<const GradientProvider> restricted,
        provider.Restrict(parameters));
    INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, train.First(kSamples));
    INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients gradients,
                               restricted->FactoredGrads(batch));
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::vector<KroneckerLayerSize> sizes,
        MeasureKroneckerLayers(layers, gradients, positions));
    KroneckerCostOptions options;
    options.is_ekfac = method.method == Method::kEkfac;
    options.num_samples = train.num_samples();
    INFLUENCE_ASSIGN_OR_RETURN(const Fisher fisher, ParseFisher(method.fisher));
    INFLUENCE_ASSIGN_OR_RETURN(
        const FisherGradients terms,
        FisherGradients::Create(fisher, restricted, batch));
    options.num_terms = terms.num_terms();
    problem.fit_passes *= options.num_terms;
    options.item_size = static_cast<int64_t>(at::elementSize(model.dtype()));
    options.num_threads = plan.num_threads;
    plan.costs = EstimateKroneckerCosts(sizes, options);
    if (plan.costs.decomposition_operations + plan.costs.pass_operations >
        kShortOperations) {
      plan.rates = MeasureRates(model.dtype());
    } else {
      plan.rates = {kShortOperations * 100, kShortOperations * 100};
    }
  }
  AddKroneckerFit(plan, problem);
  return absl::OkStatus();
}

}  // namespace influence
