// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/solve_hvp.h"

#include "base/status_macros.h"
#include "operators/inversion_methods.h"

namespace influence {

InversionRegistry& DefaultInversionRegistry() {
  // Never destroyed: other threads may use it until the process ends.
  static InversionRegistry& registry = *[] {
    auto* made = new InversionRegistry();
    INFLUENCE_CHECK(RegisterBuiltInInversionMethods(*made).ok());
    return made;
  }();
  return registry;
}

absl::StatusOr<InverseHvpResult> SolveHvp(
    absl::string_view inversion_method, const TwiceDifferentiable& model,
    const std::shared_ptr<const BatchSequence>& data, const at::Tensor& b,
    double hessian_perturbation, const InversionOptions& options) {
  return DefaultInversionRegistry().Call(inversion_method, model, data, b,
                                         hessian_perturbation, options);
}

}  // namespace influence
