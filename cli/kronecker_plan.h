// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What a fit of kfac or ekfac adds to a plan: the squares of its layers' sides
// (operators/kronecker_costs.h), and how long this machine takes for them.
#ifndef INFLUENCE_CLI_KRONECKER_PLAN_H_
#define INFLUENCE_CLI_KRONECKER_PLAN_H_

#include <cstdint>
#include <optional>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/data_set.h"
#include "cli/method_options.h"
#include "cli/run_plan.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "operators/kronecker_costs.h"

namespace influence {

// Operations a second of this machine, measured in some milliseconds.
struct MachineRates {
  double products = 1;        // Of large matrix products in the dtype.
  double decompositions = 1;  // Of large eigendecompositions, float64.
};
MachineRates MeasureRates(at::ScalarType dtype);

// A fit to plan.
struct KroneckerFitPlan {
  KroneckerCosts costs;
  int64_t diagonal_bytes = 0;  // Of parameters outside of all layers.
  int num_threads = 1;
  std::optional<int64_t> memory_limit;
  MachineRates rates;
};

// Fills in what a fit adds to `problem`.
void AddKroneckerFit(const KroneckerFitPlan& plan, PlanProblem& problem);

// The same for `method` and the training data, of which a few samples'
// gradients tell the positions of each layer. Errors of the provider.
absl::Status AddKroneckerFit(const MethodOptions& method,
                             const CapturingGradientProvider& provider,
                             const ParameterBlocks& blocks,
                             const DataSet& train,
                             std::optional<int64_t> memory_limit,
                             PlanProblem& problem);

}  // namespace influence

#endif  // INFLUENCE_CLI_KRONECKER_PLAN_H_
