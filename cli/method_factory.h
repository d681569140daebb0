// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// From options to an influence function model.
#ifndef INFLUENCE_CLI_METHOD_FACTORY_H_
#define INFLUENCE_CLI_METHOD_FACTORY_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/options.h"
#include "gradients/gradient_provider.h"
#include "influence/composable_influence.h"

namespace influence {

// The model of options.method, not yet fitted. A usage error if
// options.regularization does not name exactly the blocks.
absl::StatusOr<std::unique_ptr<ComposableInfluence>> CreateMethod(
    const ScoresOptions& options,
    std::shared_ptr<const GradientProvider> provider);

// `status` of a failed Fit() with the option or the file it is about in front.
absl::Status ExplainFitError(const ScoresOptions& options,
                             const absl::Status& status);

}  // namespace influence

#endif  // INFLUENCE_CLI_METHOD_FACTORY_H_
