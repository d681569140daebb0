// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The concrete influence model behind --method and its options.
#ifndef INFLUENCE_CLI_METHOD_FACTORY_H_
#define INFLUENCE_CLI_METHOD_FACTORY_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cli/method_options.h"
#include "cli/options.h"
#include "gradients/gradient_provider.h"
#include "gradients/per_sample_function.h"
#include "influence/composable_influence.h"

namespace influence {

// The method of source.method over its blocks, not fitted. `provider` gives
// model and loss. A usage error if a regularization names blocks that do not
// exist or leaves one out, or if the method cannot take a value of its options
// for this model.
absl::StatusOr<std::unique_ptr<ComposableInfluence>> CreateMethod(
    const FitSource& source, const RunOptions& run,
    const PerSampleFunction& query_function,
    std::shared_ptr<const GradientProvider> provider);

// `influence`, which is kfac or ekfac and fitted, with another score tolerance.
absl::StatusOr<std::unique_ptr<ComposableInfluence>> WithScoreTolerance(
    const ComposableInfluence& influence, double score_tolerance);

// What EKFAC may keep between its passes in a process of so much memory.
int64_t KeptFactorBytes(std::optional<int64_t> memory_limit);

// What the workers of a (E)KFAC fit may take for statistics of their own.
int64_t FitWorkerBytes(std::optional<int64_t> memory_limit);

// A failed Fit() in the words of the command line: what the library says of an
// option begins with the option, all else with `file`.
absl::Status ExplainFitError(const std::string& file,
                             const absl::Status& status);

// Do the method's scores come from the queries' factors, which are worth
// keeping while all of the training data pass by?
bool KeepsFactors(Method method);

}  // namespace influence

#endif  // INFLUENCE_CLI_METHOD_FACTORY_H_
