// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/nystroem_influence.h"

#include <utility>

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "operators/curvature.h"
#include "operators/nystroem.h"

namespace influence {
namespace {

constexpr absl::string_view kMethod = "nystroem";

constexpr Curvature kDefaultCurvature = Curvature::kGeneralizedGaussNewton;

}  // namespace

absl::StatusOr<std::unique_ptr<NystroemInfluence>> NystroemInfluence::Create(
    std::shared_ptr<const GradientProvider> provider, ParameterBlocks blocks,
    const LowRankInfluenceOptions& options) {
  INFLUENCE_RETURN_IF_ERROR(ValidateOptions(provider.get(), blocks, options));
  return std::unique_ptr<NystroemInfluence>(new NystroemInfluence(
      std::move(provider), std::move(blocks), options, kDefaultCurvature));
}

absl::StatusOr<std::unique_ptr<NystroemInfluence>> NystroemInfluence::Restore(
    std::shared_ptr<const GradientProvider> provider, const FittedState& state,
    std::optional<PerSampleFunction> query_function) {
  if (provider == nullptr) {
    return absl::InvalidArgumentError("provider: is null");
  }
  INFLUENCE_ASSIGN_OR_RETURN(ParameterBlocks blocks,
                             BlocksOfState(state, kMethod, provider->model()));
  INFLUENCE_ASSIGN_OR_RETURN(LowRankInfluenceOptions options,
                             OptionsOfState(state));
  options.query_function = std::move(query_function);
  INFLUENCE_ASSIGN_OR_RETURN(
      std::unique_ptr<NystroemInfluence> influence,
      Create(std::move(provider), std::move(blocks), options));
  INFLUENCE_RETURN_IF_ERROR(influence->SetState(state));
  return influence;
}

absl::string_view NystroemInfluence::method() const { return kMethod; }

std::unique_ptr<LowRankInfluence> NystroemInfluence::Clone() const {
  return std::unique_ptr<LowRankInfluence>(new NystroemInfluence(*this));
}

bool NystroemInfluence::PrefersDense(int64_t rank, int64_t size) const {
  return rank >= size;
}

absl::StatusOr<LowRank> NystroemInfluence::DensePairs(const at::Tensor& c,
                                                      int64_t rank) const {
  INFLUENCE_ASSIGN_OR_RETURN(const LowRank pairs,
                             DenseEigenpairs(c, rank, dtype()));
  return NonNegativeEigenpairs(pairs, dtype());
}

absl::StatusOr<LowRank> NystroemInfluence::OperatorPairs(const Operator& c,
                                                         int64_t rank) const {
  NystroemOptions nystroem_options;
  nystroem_options.rank = rank;
  nystroem_options.seed = options().seed;
  nystroem_options.dtype = dtype();
  // The others are positive semidefinite wherever the loss is convex.
  if (curvature() != Curvature::kHessian) {
    nystroem_options.num_definiteness_products = 0;
  }
  return NystroemEigenpairs(c, nystroem_options);
}

}  // namespace influence
