// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/curvature.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "operators/gauss_newton_batch_operation.h"
#include "operators/generalized_gauss_newton_batch_operation.h"
#include "operators/hessian_batch_operation.h"

namespace influence {

absl::string_view CurvatureName(Curvature curvature) {
  switch (curvature) {
    case Curvature::kHessian:
      return "hessian";
    case Curvature::kGaussNewton:
      return "gauss_newton";
    case Curvature::kGeneralizedGaussNewton:
      return "generalized_gauss_newton";
  }
  return "unknown";
}

absl::StatusOr<Curvature> ParseCurvature(absl::string_view name) {
  for (const Curvature curvature :
       {Curvature::kHessian, Curvature::kGaussNewton,
        Curvature::kGeneralizedGaussNewton}) {
    if (name == CurvatureName(curvature)) return curvature;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("curvature: found \"", name,
                   "\", expected hessian, gauss_newton or "
                   "generalized_gauss_newton"));
}

std::shared_ptr<const BatchOperation> CreateCurvatureOperation(
    Curvature curvature, std::shared_ptr<const GradientProvider> provider) {
  switch (curvature) {
    case Curvature::kHessian:
      return std::make_shared<const HessianBatchOperation>(std::move(provider));
    case Curvature::kGaussNewton:
      return std::make_shared<const GaussNewtonBatchOperation>(
          std::move(provider));
    case Curvature::kGeneralizedGaussNewton:
      return std::make_shared<const GeneralizedGaussNewtonBatchOperation>(
          std::move(provider));
  }
  return nullptr;
}

}  // namespace influence
