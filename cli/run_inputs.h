// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The model and the data sets a command works on, opened and checked against
// each other before anything long is begun.
#ifndef INFLUENCE_CLI_RUN_INPUTS_H_
#define INFLUENCE_CLI_RUN_INPUTS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "cli/data_set.h"
#include "cli/options.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"

namespace influence {

// What CapturingGradientProvider checks itself on.
inline constexpr int64_t kSelfCheckSamples = 3;

struct RunInputs {
  std::shared_ptr<const Model> model;
  std::shared_ptr<const DataSet> train;
  std::shared_ptr<const DataSet> test;  // Null where there is none.

  // Of the model and the training loss.
  std::shared_ptr<const CapturingGradientProvider> provider;
};

// Applies options.num_threads to the process, loads the model, opens and checks
// the training data and, if `test` is given, the query data for
// `query_function`. Every label is checked, which reads the data once.
// Errors begin with the file at fault.
absl::StatusOr<RunInputs> OpenRunInputs(
    const CommonOptions& options, const std::optional<std::string>& test,
    const PerSampleFunction& query_function);

}  // namespace influence

#endif  // INFLUENCE_CLI_RUN_INPUTS_H_
