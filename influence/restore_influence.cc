// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/restore_influence.h"

#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "influence/arnoldi_influence.h"
#include "influence/cg_influence.h"
#include "influence/direct_influence.h"
#include "influence/identity_influence.h"
#include "influence/inverse_harmonic_mean_influence.h"
#include "influence/kronecker_influence.h"
#include "influence/lissa_influence.h"
#include "influence/nystroem_influence.h"

namespace influence {
namespace {

using Provider = std::shared_ptr<const GradientProvider>;
using Data = std::shared_ptr<const BatchSequence>;
using QueryFunction = std::optional<PerSampleFunction>;
using Ranks = std::shared_ptr<Communicator>;
using Result = absl::StatusOr<std::unique_ptr<ComposableInfluence>>;

struct Method {
  bool takes_data;
  Result (*restore)(Provider, const FittedState&, const Data&, QueryFunction,
                    const Ranks&);
};

// Of a method whose state holds all that it solves with.
template <typename Influence>
Method WithoutData() {
  return {/*takes_data=*/false,
          [](Provider provider, const FittedState& state, const Data& /*data*/,
             QueryFunction query_function,
             const Ranks& /*communicator*/) -> Result {
            return Influence::Restore(std::move(provider), state,
                                      std::move(query_function));
          }};
}

// Of a method that may solve with the training data.
template <typename Influence>
Method WithData() {
  return {
      /*takes_data=*/true,
      [](Provider provider, const FittedState& state, const Data& data,
         QueryFunction query_function, const Ranks& communicator) -> Result {
        return Influence::Restore(std::move(provider), state, data,
                                  std::move(query_function), communicator);
      }};
}

const std::map<std::string, Method>& Methods() {
  // Never destroyed: threads may still be at work when the process ends.
  static const auto* const methods = new std::map<std::string, Method>({
      {"arnoldi", WithoutData<ArnoldiInfluence>()},
      {"cg", WithData<CgInfluence>()},
      {"direct", WithoutData<DirectInfluence>()},
      {"ekfac", WithoutData<KroneckerInfluence>()},
      {"identity", WithoutData<IdentityInfluence>()},
      {"ihm", WithData<InverseHarmonicMeanInfluence>()},
      {"kfac", WithoutData<KroneckerInfluence>()},
      {"lissa", WithData<LissaInfluence>()},
      {"nystroem", WithoutData<NystroemInfluence>()},
  });
  return *methods;
}

}  // namespace

std::vector<std::string> RestorableMethods() {
  std::vector<std::string> names;
  for (const auto& [name, method] : Methods()) names.push_back(name);
  return names;
}

bool RestoringTakesData(const std::string& method) {
  const auto found = Methods().find(method);
  return found != Methods().end() && found->second.takes_data;
}

absl::StatusOr<std::unique_ptr<ComposableInfluence>> RestoreInfluence(
    const FittedState& state, std::shared_ptr<const GradientProvider> provider,
    const std::shared_ptr<const BatchSequence>& data,
    std::optional<PerSampleFunction> query_function,
    const std::shared_ptr<Communicator>& communicator) {
  const auto found = Methods().find(state.method);
  if (found == Methods().end()) {
    return absl::NotFoundError(absl::StrCat(
        "fitted state: found method \"", state.method, "\", expected one of ",
        absl::StrJoin(RestorableMethods(), ", ")));
  }
  if (provider == nullptr) {
    return absl::InvalidArgumentError("provider: is null");
  }
  return found->second.restore(std::move(provider), state, data,
                               std::move(query_function), communicator);
}

}  // namespace influence
