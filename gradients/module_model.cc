// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/module_model.h"

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "gradients/model.h"
#include "torch/nn/module.h"
#include "torch/nn/modules/activation.h"
#include "torch/nn/modules/batchnorm.h"
#include "torch/nn/modules/dropout.h"
#include "torch/nn/modules/rnn.h"

namespace influence {
namespace {

namespace nn = torch::nn;

// "torch::nn::BatchNorm2dImpl" -> "BatchNorm2d".
std::string TypeName(const nn::Module& module) {
  absl::string_view name = module.name();
  const size_t scope = name.rfind("::");
  if (scope != absl::string_view::npos) name.remove_prefix(scope + 2);
  absl::ConsumeSuffix(&name, "Impl");
  return std::string(name);
}

template <typename... Impl>
bool IsAny(const nn::Module& module) {
  return (... || (dynamic_cast<const Impl*>(&module) != nullptr));
}

template <typename Impl>
bool LacksRunningStatistics(const nn::Module& module) {
  const auto* norm = dynamic_cast<const Impl*>(&module);
  return norm != nullptr && !norm->running_mean.defined();
}

template <typename Impl>
bool DropsOut(const nn::Module& module) {
  const auto* dropout = dynamic_cast<const Impl*>(&module);
  return dropout != nullptr && dropout->options.p() > 0;
}

// Between the layers of a stack, so not for a single one.
template <typename Impl>
bool DropsOutBetweenLayers(const nn::Module& module) {
  const auto* rnn = dynamic_cast<const Impl*>(&module);
  return rnn != nullptr && rnn->options_base.dropout() > 0 &&
         rnn->options_base.num_layers() > 1;
}

bool DropsOutAttention(const nn::Module& module) {
  const auto* attention =
      dynamic_cast<const nn::MultiheadAttentionImpl*>(&module);
  return attention != nullptr && attention->options.dropout() > 0;
}

// Why the module makes a sample depend on the others or on chance; empty if it
// does not.
absl::string_view CouplingOf(const nn::Module& module) {
  if (module.is_training()) {
    const bool couples = IsAny<nn::BatchNorm1dImpl, nn::BatchNorm2dImpl,
                               nn::BatchNorm3dImpl, nn::RReLUImpl>(module) ||
                         DropsOut<nn::DropoutImpl>(module) ||
                         DropsOut<nn::Dropout2dImpl>(module) ||
                         DropsOut<nn::Dropout3dImpl>(module) ||
                         DropsOut<nn::AlphaDropoutImpl>(module) ||
                         DropsOut<nn::FeatureAlphaDropoutImpl>(module) ||
                         DropsOutBetweenLayers<nn::RNNImpl>(module) ||
                         DropsOutBetweenLayers<nn::LSTMImpl>(module) ||
                         DropsOutBetweenLayers<nn::GRUImpl>(module) ||
                         DropsOutAttention(module);
    return couples ? "in training mode" : "";
  }
  const bool uses_batch_statistics =
      LacksRunningStatistics<nn::BatchNorm1dImpl>(module) ||
      LacksRunningStatistics<nn::BatchNorm2dImpl>(module) ||
      LacksRunningStatistics<nn::BatchNorm3dImpl>(module);
  return uses_batch_statistics ? "without running statistics" : "";
}

class ModuleModel : public Model {
 public:
  static absl::StatusOr<std::shared_ptr<const Model>> Create(
      std::shared_ptr<nn::Module> module, ForwardFunction forward,
      int num_inputs) {
    std::vector<NamedParameter> parameters;
    for (const auto& item : module->named_parameters()) {
      parameters.push_back({item.key(), item.value()});
    }
    parameters = DistinctTrainable(parameters);
    INFLUENCE_RETURN_IF_ERROR(ValidateParameters(parameters));
    return std::shared_ptr<const Model>(
        new ModuleModel(std::move(module), std::move(forward), num_inputs,
                        std::move(parameters)));
  }

  absl::StatusOr<at::Tensor> Forward(
      const std::vector<at::Tensor>& x) const override {
    if (static_cast<int>(x.size()) != num_inputs_) {
      return absl::InvalidArgumentError(absl::StrCat(
          "model inputs: found ", x.size(), ", expected ", num_inputs_));
    }
    return CatchTorch(
        "model", [&]() -> absl::StatusOr<at::Tensor> { return forward_(x); });
  }

  std::vector<std::string> CouplingModules() const override {
    std::vector<std::string> lines;
    for (const auto& item : module_->named_modules()) {
      const absl::string_view coupling = CouplingOf(*item.value());
      if (coupling.empty()) continue;
      lines.push_back(absl::StrCat(item.key().empty() ? "model" : item.key(),
                                   " (", TypeName(*item.value()), " ", coupling,
                                   ")"));
    }
    return lines;
  }

 private:
  ModuleModel(std::shared_ptr<nn::Module> module, ForwardFunction forward,
              int num_inputs, std::vector<NamedParameter> parameters)
      : Model(std::move(parameters)),
        module_(std::move(module)),
        forward_(std::move(forward)),
        num_inputs_(num_inputs) {}

  std::shared_ptr<nn::Module> module_;
  ForwardFunction forward_;
  int num_inputs_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const Model>> CreateModuleModel(
    std::shared_ptr<torch::nn::Module> module, ForwardFunction forward,
    int num_inputs) {
  if (module == nullptr || forward == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "model: found no ", module == nullptr ? "module" : "forward",
        ", expected a module and its forward function"));
  }
  if (num_inputs < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "model inputs: found ", num_inputs, ", expected at least one"));
  }
  return CatchTorch("model", [&] {
    return ModuleModel::Create(std::move(module), std::move(forward),
                               num_inputs);
  });
}

}  // namespace influence
