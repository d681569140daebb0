// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/twice_differentiable.h"

#include <utility>

#include "absl/status/status.h"

namespace influence {

GradientProviderModel::GradientProviderModel(
    std::shared_ptr<const GradientProvider> provider)
    : provider_(std::move(provider)) {}

absl::StatusOr<std::shared_ptr<const AutogradModel>> AutogradModel::Create(
    std::shared_ptr<const AutogradGradientProvider> provider) {
  if (provider == nullptr) {
    return absl::InvalidArgumentError("provider: is null");
  }
  return std::shared_ptr<const AutogradModel>(
      new AutogradModel(std::move(provider)));
}

absl::StatusOr<std::shared_ptr<const CapturingModel>> CapturingModel::Create(
    std::shared_ptr<const CapturingGradientProvider> provider) {
  if (provider == nullptr) {
    return absl::InvalidArgumentError("provider: is null");
  }
  return std::shared_ptr<const CapturingModel>(
      new CapturingModel(std::move(provider)));
}

absl::StatusOr<std::shared_ptr<const ClosedFormModel>> ClosedFormModel::Create(
    std::shared_ptr<const GeneralizedLinearModel> model) {
  if (model == nullptr) return absl::InvalidArgumentError("model: is null");
  return std::shared_ptr<const ClosedFormModel>(
      new ClosedFormModel(std::move(model)));
}

ClosedFormModel::ClosedFormModel(
    std::shared_ptr<const GeneralizedLinearModel> model)
    : model_(std::move(model)) {}

}  // namespace influence
