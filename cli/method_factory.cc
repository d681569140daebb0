// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/method_factory.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "cli/options.h"
#include "cli/usage_error.h"
#include "gradients/gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "influence/composable_influence.h"
#include "influence/direct_influence.h"
#include "influence/identity_influence.h"

namespace influence {
namespace {

constexpr absl::string_view kOption = "--regularization";

}  // namespace

absl::StatusOr<std::unique_ptr<ComposableInfluence>> CreateMethod(
    const ScoresOptions& options,
    std::shared_ptr<const GradientProvider> provider) {
  ParameterBlocks blocks =
      ParameterBlocks::Create(provider->model(), options.block_structure);
  if (options.method == Method::kIdentity) {
    return IdentityInfluence::Create(std::move(provider), std::move(blocks),
                                     options.query_function);
  }
  if (!options.regularization.is_auto()) {
    const absl::Status status = options.regularization.Resolve(blocks).status();
    if (!status.ok()) return AsUsageError(kOption, status);
  }
  DirectInfluenceOptions direct;
  direct.curvature = options.curvature;
  direct.regularization = options.regularization;
  direct.query_function = options.query_function;
  direct.num_threads = options.num_threads.value_or(0);
  return DirectInfluence::Create(std::move(provider), std::move(blocks),
                                 direct);
}

absl::Status ExplainFitError(const ScoresOptions& options,
                             const absl::Status& status) {
  constexpr absl::string_view kArgument = "regularization: ";
  if (absl::StrContains(status.message(), kArgument)) {
    return absl::Status(
        status.code(),
        absl::StrCat(kOption, ": ",
                     absl::StrReplaceAll(status.message(), {{kArgument, ""}})));
  }
  return absl::Status(status.code(),
                      absl::StrCat(options.train, ": ", status.message()));
}

}  // namespace influence
