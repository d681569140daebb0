// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "tests/support/function_model.h"

#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "base/torch_boundary.h"
#include "gradients/model.h"

namespace influence {

at::Tensor ParameterLike(const at::Tensor& values) {
  return values.detach().clone().requires_grad_(true);
}

FunctionModel::FunctionModel(const std::vector<NamedParameter>& parameters,
                             Function function,
                             std::vector<std::string> coupling_modules)
    : Model(DistinctTrainable(parameters)),
      function_(std::move(function)),
      coupling_modules_(std::move(coupling_modules)) {}

absl::StatusOr<at::Tensor> FunctionModel::Forward(
    const std::vector<at::Tensor>& x) const {
  return CatchTorch(
      "model", [&]() -> absl::StatusOr<at::Tensor> { return function_(x); });
}

}  // namespace influence
