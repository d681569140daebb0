// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/model.h"

#include <memory>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/validators.h"

namespace influence {

Model::Model(std::vector<NamedParameter> parameters)
    : parameters_(std::move(parameters)) {
  for (const NamedParameter& parameter : parameters_) {
    num_parameters_ += parameter.tensor.numel();
  }
}

absl::StatusOr<std::shared_ptr<const Model>> Model::CopyAs(
    at::ScalarType /*dtype*/) const {
  return absl::UnimplementedError(
      "model: found one that cannot be copied, expected a copy");
}

std::vector<NamedParameter> Model::DistinctTrainable(
    const std::vector<NamedParameter>& parameters) {
  std::vector<NamedParameter> distinct;
  std::unordered_set<const at::TensorImpl*> seen;
  for (const NamedParameter& parameter : parameters) {
    if (!parameter.tensor.defined() || !parameter.tensor.requires_grad()) {
      continue;
    }
    if (!seen.insert(parameter.tensor.unsafeGetTensorImpl()).second) continue;
    distinct.push_back(parameter);
  }
  return distinct;
}

absl::Status Model::ValidateParameters(
    const std::vector<NamedParameter>& parameters) {
  if (parameters.empty()) {
    return absl::InvalidArgumentError(
        "model: found no trainable parameter, expected at least one that "
        "requires grad");
  }
  const at::ScalarType dtype = parameters[0].tensor.scalar_type();
  for (const NamedParameter& parameter : parameters) {
    const std::string name = absl::StrCat("parameter ", parameter.name);
    INFLUENCE_RETURN_IF_ERROR(ValidateFloating(name, parameter.tensor));
    if (parameter.tensor.scalar_type() != dtype) {
      return absl::InvalidArgumentError(absl::StrCat(
          name, ": found dtype ", DtypeName(parameter.tensor.scalar_type()),
          ", expected ", DtypeName(dtype), " as of ", parameters[0].name));
    }
    INFLUENCE_RETURN_IF_ERROR(ValidateFinite(name, parameter.tensor));
  }
  return absl::OkStatus();
}

absl::Status ValidateUncoupled(const Model& model) {
  const std::vector<std::string> modules = model.CouplingModules();
  if (modules.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "model: found ", absl::StrJoin(modules, ", "),
      ", expected modules whose output for a sample depends neither on other "
      "samples nor on chance; call eval() before the model is used or saved"));
}

}  // namespace influence
