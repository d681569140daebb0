// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/identity_influence.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "operators/identity_operator.h"

namespace influence {
namespace {

constexpr absl::string_view kMethod = "identity";

std::vector<std::shared_ptr<const Operator>> IdentityOperators(
    const ParameterBlocks& blocks) {
  std::vector<std::shared_ptr<const Operator>> operators;
  for (const ParameterBlock& block : blocks.blocks()) {
    operators.push_back(std::make_shared<const IdentityOperator>(block.size));
  }
  return operators;
}

}  // namespace

absl::StatusOr<std::unique_ptr<IdentityInfluence>> IdentityInfluence::Create(
    std::shared_ptr<const GradientProvider> provider, ParameterBlocks blocks,
    std::optional<PerSampleFunction> query_function) {
  if (provider == nullptr) {
    return absl::InvalidArgumentError("provider: is null");
  }
  std::unique_ptr<IdentityInfluence> influence(new IdentityInfluence(
      std::move(provider), std::move(blocks), std::move(query_function)));
  INFLUENCE_RETURN_IF_ERROR(
      influence->SetOperators(IdentityOperators(influence->blocks()),
                              /*num_fitted_samples=*/0));
  return influence;
}

absl::StatusOr<std::unique_ptr<IdentityInfluence>> IdentityInfluence::Restore(
    std::shared_ptr<const GradientProvider> provider, const FittedState& state,
    std::optional<PerSampleFunction> query_function) {
  if (provider == nullptr) {
    return absl::InvalidArgumentError("provider: is null");
  }
  INFLUENCE_ASSIGN_OR_RETURN(ParameterBlocks blocks,
                             BlocksOfState(state, kMethod, provider->model()));
  INFLUENCE_ASSIGN_OR_RETURN(std::unique_ptr<IdentityInfluence> influence,
                             Create(std::move(provider), std::move(blocks),
                                    std::move(query_function)));
  INFLUENCE_RETURN_IF_ERROR(influence->SetOperators(
      IdentityOperators(influence->blocks()), state.num_fitted_samples));
  return influence;
}

std::vector<BlockReport> IdentityInfluence::report() const {
  std::vector<BlockReport> report;
  for (const ParameterBlock& block : blocks().blocks()) {
    report.push_back({block.name, block.size, std::nullopt, std::nullopt});
  }
  return report;
}

absl::StatusOr<std::unique_ptr<ComposableInfluence>>
IdentityInfluence::WithRegularization(
    const Regularization& regularization) const {
  return absl::InvalidArgumentError("regularization: found " +
                                    regularization.ToString() +
                                    ", expected none with identity");
}

absl::StatusOr<std::vector<std::shared_ptr<const Operator>>>
IdentityInfluence::FitOperators(std::shared_ptr<const BatchSequence> /*data*/,
                                ProgressReporter* /*progress*/) {
  return IdentityOperators(blocks());
}

absl::StatusOr<FittedState> IdentityInfluence::DoExportState() const {
  FittedState state;
  state.method = std::string(kMethod);
  return state;
}

}  // namespace influence
