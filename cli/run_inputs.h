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

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
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
  std::shared_ptr<const DataSet> train;  // Null where there is none.
  std::shared_ptr<const DataSet> test;   // Null where there is none.

  // Of the model and the training loss.
  std::shared_ptr<const CapturingGradientProvider> provider;
};

// Applies options.num_threads to the process; where it is not given,
// ThreadsPerRank().
absl::Status ApplyThreads(const RunOptions& options);

// Goes on with one thread where options.num_threads is not given and the
// training data are small for the model, see IsSmall() of batch_sizes.h.
void UseOneThreadIfSmall(const RunOptions& options, const RunInputs& inputs);

// A model that can be used: its samples depend on nothing but themselves.
// Errors begin with `path`.
absl::StatusOr<std::shared_ptr<const Model>> OpenModel(const std::string& path,
                                                       at::ScalarType dtype);

// Opens the data sets options.train, unless empty, and `test`, if given, and
// checks every label: of the training data for the loss, of the query data for
// `query_function`. That reads the data once. `model` came from options.model.
// One of the two data sets at least. Errors begin with the file at fault.
absl::StatusOr<RunInputs> OpenRunInputs(
    std::shared_ptr<const Model> model, const ModelOptions& options,
    const std::optional<std::string>& test,
    const PerSampleFunction& query_function);

// The same with the model opened here.
absl::StatusOr<RunInputs> OpenRunInputs(
    const ModelOptions& options, const std::optional<std::string>& test,
    const PerSampleFunction& query_function);

}  // namespace influence

#endif  // INFLUENCE_CLI_RUN_INPUTS_H_
