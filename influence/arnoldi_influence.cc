// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/arnoldi_influence.h"

#include <utility>

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "operators/arnoldi.h"
#include "operators/curvature.h"

namespace influence {
namespace {

constexpr absl::string_view kMethod = "arnoldi";

constexpr Curvature kDefaultCurvature = Curvature::kHessian;

// The products that the Krylov method takes, in sizes of its space: one where
// the spectrum falls off quickly, as that of a trained network does, and half a
// one more for each restart.
constexpr int64_t kExpectedFillings = 2;

}  // namespace

absl::StatusOr<std::unique_ptr<ArnoldiInfluence>> ArnoldiInfluence::Create(
    std::shared_ptr<const GradientProvider> provider, ParameterBlocks blocks,
    const LowRankInfluenceOptions& options) {
  INFLUENCE_RETURN_IF_ERROR(ValidateOptions(provider.get(), blocks, options));
  return std::unique_ptr<ArnoldiInfluence>(new ArnoldiInfluence(
      std::move(provider), std::move(blocks), options, kDefaultCurvature));
}

absl::StatusOr<std::unique_ptr<ArnoldiInfluence>> ArnoldiInfluence::Restore(
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
      std::unique_ptr<ArnoldiInfluence> influence,
      Create(std::move(provider), std::move(blocks), options));
  INFLUENCE_RETURN_IF_ERROR(influence->SetState(state));
  return influence;
}

absl::string_view ArnoldiInfluence::method() const { return kMethod; }

std::unique_ptr<LowRankInfluence> ArnoldiInfluence::Clone() const {
  return std::unique_ptr<LowRankInfluence>(new ArnoldiInfluence(*this));
}

bool ArnoldiInfluence::PrefersDense(int64_t rank, int64_t size) const {
  return size <= kExpectedFillings * ArnoldiSubspaceSize(rank, size);
}

absl::StatusOr<LowRank> ArnoldiInfluence::DensePairs(const at::Tensor& c,
                                                     int64_t rank) const {
  return DenseEigenpairs(c, rank, dtype());
}

absl::StatusOr<LowRank> ArnoldiInfluence::OperatorPairs(const Operator& c,
                                                        int64_t rank) const {
  ArnoldiOptions arnoldi_options;
  arnoldi_options.rank = rank;
  arnoldi_options.seed = options().seed;
  arnoldi_options.dtype = dtype();
  INFLUENCE_ASSIGN_OR_RETURN(ArnoldiResult result,
                             ArnoldiEigenpairs(c, arnoldi_options));
  return std::move(result.pairs);
}

}  // namespace influence
