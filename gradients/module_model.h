// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Model adapter for any torch::nn module with forward(Tensor...):
//
//   auto net = std::make_shared<Net>();   // struct Net : torch::nn::Module
//   net->eval();
//   INFLUENCE_ASSIGN_OR_RETURN(std::shared_ptr<const Model> model,
//                              CreateModuleModel(net));
//
// A module holder (torch::nn::Linear, torch::nn::Sequential) is passed by its
// ptr().
#ifndef INFLUENCE_GRADIENTS_MODULE_MODEL_H_
#define INFLUENCE_GRADIENTS_MODULE_MODEL_H_

#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/model.h"

namespace torch::nn {
class Module;
}  // namespace torch::nn

namespace influence {

// f(x) of a module; any number of inputs.
using ForwardFunction =
    std::function<at::Tensor(const std::vector<at::Tensor>& x)>;

// A model with `module`'s parameters and the given forward function, whatever
// the module's own signature. The module is shared, not copied: it must not be
// changed while the model is in use. `forward` may throw. kInvalidArgument if
// there is no trainable parameter or one is not finite; never calls eval().
absl::StatusOr<std::shared_ptr<const Model>> CreateModuleModel(
    std::shared_ptr<torch::nn::Module> module, ForwardFunction forward,
    int num_inputs);

namespace module_model_internal {

template <typename Module, size_t... kIndex>
at::Tensor CallForward(Module& module, const std::vector<at::Tensor>& x,
                       std::index_sequence<kIndex...>) {
  return module.forward(x[kIndex]...);
}

template <typename Module, typename... Tensors>
constexpr int NumInputs() {
  if constexpr (requires(Module & module, Tensors... x) {
                  { module.forward(x...) } -> std::convertible_to<at::Tensor>;
                }) {
    return sizeof...(Tensors);
  } else {
    static_assert(sizeof...(Tensors) < 8,
                  "the module has no at::Tensor forward(at::Tensor...)");
    return NumInputs<Module, Tensors..., at::Tensor>();
  }
}

}  // namespace module_model_internal

// The same for a module class with forward(Tensor...) of 1 to 8 tensors; the
// smallest number of inputs that forward() accepts is taken.
template <typename ModuleType>
absl::StatusOr<std::shared_ptr<const Model>> CreateModuleModel(
    std::shared_ptr<ModuleType> module) {
  constexpr int kNumInputs =
      module_model_internal::NumInputs<ModuleType, at::Tensor>();
  ModuleType* borrowed = module.get();  // Owned by the model made here.
  return CreateModuleModel(
      std::shared_ptr<torch::nn::Module>(std::move(module)),
      [borrowed](const std::vector<at::Tensor>& x) -> at::Tensor {
        return module_model_internal::CallForward(
            *borrowed, x, std::make_index_sequence<kNumInputs>());
      },
      kNumInputs);
}

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_MODULE_MODEL_H_
