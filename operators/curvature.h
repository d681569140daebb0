// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Which curvature C of the mean loss is meant, and its batch operation.
#ifndef INFLUENCE_OPERATORS_CURVATURE_H_
#define INFLUENCE_OPERATORS_CURVATURE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gradients/gradient_provider.h"
#include "operators/batch_operation.h"

namespace influence {

enum class Curvature {
  kHessian,                 // The exact Hessian of the mean loss.
  kGaussNewton,             // mean_n g_n g_n^T
  kGeneralizedGaussNewton,  // mean_n J_n^T H_n J_n
};

// "hessian", "gauss_newton", "generalized_gauss_newton".
absl::string_view CurvatureName(Curvature curvature);

// kInvalidArgument listing the names for another one.
absl::StatusOr<Curvature> ParseCurvature(absl::string_view name);

// The operation whose average over a data set is C. `provider` is not null.
std::shared_ptr<const BatchOperation> CreateCurvatureOperation(
    Curvature curvature, std::shared_ptr<const GradientProvider> provider);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_CURVATURE_H_
