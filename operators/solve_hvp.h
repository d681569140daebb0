// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Inverse curvature times vectors by the name of the method:
//
//   INFLUENCE_ASSIGN_OR_RETURN(
//       const InverseHvpResult result,
//       SolveHvp("cg", *model, data, b, /*hessian_perturbation=*/1e-3,
//                {{"tolerance", 1e-8}}));
#ifndef INFLUENCE_OPERATORS_SOLVE_HVP_H_
#define INFLUENCE_OPERATORS_SOLVE_HVP_H_

#include <memory>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gradients/batch_sequence.h"
#include "operators/inversion_options.h"
#include "operators/inversion_registry.h"
#include "operators/twice_differentiable.h"

namespace influence {

// The registry of the process, made with all methods of inversion_methods.h
// when it is first asked for. One's own methods are registered here, or in a
// registry of one's own. Thread-safe.
InversionRegistry& DefaultInversionRegistry();

// x with (C + hessian_perturbation I) x = b, or the method's approximation of
// it, from the method registered for the model's kind in the default registry.
// b: [P] or [K, P] in the model's dtype. Errors as InversionRegistry::Call().
absl::StatusOr<InverseHvpResult> SolveHvp(
    absl::string_view inversion_method, const TwiceDifferentiable& model,
    const std::shared_ptr<const BatchSequence>& data, const at::Tensor& b,
    double hessian_perturbation = 0, const InversionOptions& options = {});

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_SOLVE_HVP_H_
