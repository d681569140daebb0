// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/restore_influence.h"

#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "influence/direct_influence.h"
#include "influence/identity_influence.h"
#include "influence/kronecker_influence.h"

namespace influence {
namespace {

using Provider = std::shared_ptr<const GradientProvider>;
using Data = std::shared_ptr<const BatchSequence>;
using QueryFunction = std::optional<PerSampleFunction>;
using Result = absl::StatusOr<std::unique_ptr<ComposableInfluence>>;

struct Method {
  bool needs_data;
  Result (*restore)(Provider, const FittedState&, const Data&, QueryFunction);
};

// Of a method whose state holds all that it solves with.
template <typename Influence>
Method WithoutData() {
  return {/*needs_data=*/false,
          [](Provider provider, const FittedState& state, const Data& /*data*/,
             QueryFunction query_function) -> Result {
            return Influence::Restore(std::move(provider), state,
                                      std::move(query_function));
          }};
}

const std::map<std::string, Method>& Methods() {
  // Never destroyed: threads may still be at work when the process ends.
  static const auto* const kMethods = new std::map<std::string, Method>({
      {"direct", WithoutData<DirectInfluence>()},
      {"ekfac", WithoutData<KroneckerInfluence>()},
      {"identity", WithoutData<IdentityInfluence>()},
      {"kfac", WithoutData<KroneckerInfluence>()},
  });
  return *kMethods;
}

}  // namespace

std::vector<std::string> RestorableMethods() {
  std::vector<std::string> names;
  for (const auto& [name, method] : Methods()) names.push_back(name);
  return names;
}

bool RestoringNeedsData(const std::string& method) {
  const auto found = Methods().find(method);
  return found != Methods().end() && found->second.needs_data;
}

absl::StatusOr<std::unique_ptr<ComposableInfluence>> RestoreInfluence(
    const FittedState& state, std::shared_ptr<const GradientProvider> provider,
    const std::shared_ptr<const BatchSequence>& data,
    std::optional<PerSampleFunction> query_function) {
  const auto found = Methods().find(state.method);
  if (found == Methods().end()) {
    return absl::NotFoundError(absl::StrCat(
        "fitted state: found method \"", state.method, "\", expected one of ",
        absl::StrJoin(RestorableMethods(), ", ")));
  }
  if (provider == nullptr) {
    return absl::InvalidArgumentError("provider: is null");
  }
  if (found->second.needs_data && data == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("data: is null, expected the training data, which method ",
                     state.method, " reads when it solves"));
  }
  return found->second.restore(std::move(provider), state, data,
                               std::move(query_function));
}

}  // namespace influence
