// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/autograd_gradient_provider.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "gradients/batch.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"
#include "gradients/gradient_term.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"
#include "torch/csrc/autograd/autograd.h"

namespace influence {

AutogradGradientProvider::AutogradGradientProvider(
    std::shared_ptr<const Model> model, PerSampleFunction function)
    : GradientProvider(std::move(model), std::move(function)) {}

// static
absl::StatusOr<std::shared_ptr<const AutogradGradientProvider>>
AutogradGradientProvider::Create(std::shared_ptr<const Model> model,
                                 PerSampleFunction function) {
  if (model == nullptr) {
    return absl::InvalidArgumentError("model: found null, expected a model");
  }
  INFLUENCE_RETURN_IF_ERROR(ValidateUncoupled(*model));
  return std::shared_ptr<const AutogradGradientProvider>(
      new AutogradGradientProvider(std::move(model), std::move(function)));
}

absl::StatusOr<FactoredGradients> AutogradGradientProvider::DoFactoredGrads(
    const Batch& batch) const {
  const at::AutoGradMode with_gradients(true);
  const int64_t num_samples = batch.size();
  std::vector<at::Tensor> parameters;
  std::vector<FactoredParameter> factored;
  for (const int64_t index : selection()) {
    const NamedParameter& parameter = model().parameters()[index];
    parameters.push_back(parameter.tensor);
    factored.push_back({parameter.name, parameter.tensor.numel(), {}});
  }
  // Rows that belong to a parameter some sample does not use stay zero.
  std::vector<at::Tensor> gradients(parameters.size());
  for (int64_t n = 0; n < num_samples; ++n) {
    INFLUENCE_ASSIGN_OR_RETURN(const Batch sample, SliceBatch(batch, n, n + 1));
    INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor output,
                               model().Forward(sample.x));
    if (n == 0) {
      // Labels are checked once for all samples, so that a message tells the
      // sample's number in the batch.
      at::Tensor outputs = output.detach();
      if (outputs.dim() >= 1 && outputs.size(0) == 1) {
        std::vector<int64_t> shape = outputs.sizes().vec();
        shape[0] = num_samples;
        outputs = outputs.expand(shape);
      }
      INFLUENCE_RETURN_IF_ERROR(function().Validate(outputs, batch.y));
    }
    INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor value,
                               function().Evaluate(output, sample.y));
    if (!value.requires_grad()) continue;
    const std::vector<at::Tensor> grads = torch::autograd::grad(
        {value.sum()}, parameters, /*grad_outputs=*/{},
        /*retain_graph=*/false, /*create_graph=*/false, /*allow_unused=*/true);
    for (size_t i = 0; i < grads.size(); ++i) {
      if (!grads[i].defined()) continue;
      if (!gradients[i].defined()) {
        gradients[i] = at::zeros({num_samples, factored[i].size},
                                 parameters[i].options().requires_grad(false));
      }
      // An embedding may have asked for a sparse gradient.
      const at::Tensor gradient =
          grads[i].is_sparse() ? grads[i].to_dense() : grads[i];
      gradients[i][n].copy_(gradient.reshape({-1}));
    }
  }
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (!gradients[i].defined()) continue;
    factored[i].terms.push_back(
        std::make_shared<DenseTerm>(/*offset=*/0, gradients[i]));
  }
  return FactoredGradients(num_samples, model().dtype(), std::move(factored));
}

std::shared_ptr<GradientProvider> AutogradGradientProvider::Clone() const {
  return std::shared_ptr<GradientProvider>(new AutogradGradientProvider(*this));
}

}  // namespace influence
