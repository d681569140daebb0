// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What a command says before and after it computes.
#ifndef INFLUENCE_CLI_PLAN_TEXT_H_
#define INFLUENCE_CLI_PLAN_TEXT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "cli/console.h"
#include "cli/fitted_source.h"
#include "cli/method_options.h"
#include "cli/options.h"
#include "cli/result_summary.h"
#include "cli/run_plan.h"
#include "gradients/parameter_blocks.h"
#include "nlohmann/json.hpp"

namespace influence {

// What the fit and the solves of a method will cost: "fit direct (hessian) in 1
// pass". Empty for identity.
std::string CostText(const MethodOptions& method);

// Passes over the training data that the fit makes; where it makes products
// with a curvature, as many as they are, one.
int64_t NumFitPasses(const MethodOptions& method);

// Bytes that the method holds beside model and data, roughly.
// 0 for kfac and ekfac, which need to know the layers (kronecker_plan.h).
double MethodBytes(const MethodOptions& method, const ParameterBlocks& blocks,
                   int64_t item_size);

// What the fit of a method adds to a plan: its passes and its memory. Errors of
// AddKroneckerFit().
absl::Status AddFit(const MethodOptions& method, const OpenedMethod& opened,
                    at::ScalarType dtype, std::optional<int64_t> memory_limit,
                    PlanProblem& problem);

// "P = 2410 parameters, 100.0 % on the fast path; N = 1500 training samples, M
// = 297 queries"; what there is none of is left out.
std::string SizesText(const OpenedMethod& opened, int64_t num_queries);

// The same for an output that a run of the same kind has completed before, from
// its attributes.
absl::Status TellFinished(const std::string& out,
                          const nlohmann::ordered_json& attributes,
                          const RunOptions& run, Console& console);

// The closing lines on standard error and, if asked for, the JSON on standard
// output.
absl::Status TellSummary(const ResultSummary& summary, const RunOptions& run,
                         Console& console);

}  // namespace influence

#endif  // INFLUENCE_CLI_PLAN_TEXT_H_
