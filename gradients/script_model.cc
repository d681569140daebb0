// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/script_model.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "gradients/model.h"
#include "torch/script.h"

namespace influence {
namespace {

namespace jit = torch::jit;

// An attribute of the module, or a constant of its class, as `Final` members
// are; None if it has neither.
c10::IValue Member(const jit::Module& module, const std::string& name) {
  if (module.hasattr(name)) return module.attr(name);
  const auto type = module.type();
  if (type->hasConstant(name)) return type->getConstant(name);
  return c10::IValue();
}

bool HasMember(const jit::Module& module, const std::string& name) {
  return module.hasattr(name) || module.type()->hasConstant(name);
}

// A member that is not there counts as positive: better a refusal than chance.
bool IsPositive(const jit::Module& module, const std::string& name) {
  const c10::IValue value = Member(module, name);
  if (value.isDouble()) return value.toDouble() > 0;
  if (value.isInt()) return value.toInt() > 0;
  return true;
}

// The class name in the original source: "BatchNorm2d".
std::string TypeName(const jit::Module& module) {
  const auto name = module.type()->name();
  return name.has_value() ? name->name() : "module";
}

// Why the module makes a sample depend on the others or on chance; empty if it
// does not.
absl::string_view CouplingOf(const jit::Module& module) {
  const std::string type = TypeName(module);
  const c10::IValue mode = Member(module, "training");
  const bool training = mode.isBool() && mode.toBool();
  const bool batch_norm = absl::StrContains(type, "BatchNorm");
  if (training) {
    const bool couples =
        batch_norm || type == "RReLU" ||
        (absl::EndsWith(type, "Dropout") && IsPositive(module, "p")) ||
        (absl::StartsWith(type, "Dropout") && IsPositive(module, "p")) ||
        (type == "MultiheadAttention" && IsPositive(module, "dropout")) ||
        ((type == "RNN" || type == "LSTM" || type == "GRU") &&
         IsPositive(module, "dropout"));
    return couples ? "in training mode" : "";
  }
  if (batch_norm && HasMember(module, "running_mean") &&
      Member(module, "running_mean").isNone()) {
    return "without running statistics";
  }
  return "";
}

// Two slots that were one tensor when the file was written may come back as two
// tensors on one storage, of which each would get a part of the gradient. Makes
// them one tensor again.
void TieAliases(const jit::Module& module) {
  using Place = std::tuple<const void*, at::ScalarType, std::vector<int64_t>,
                           std::vector<int64_t>>;
  std::map<Place, at::Tensor> first_at;
  for (jit::Module submodule : module.modules()) {
    for (const auto& slot : submodule.named_parameters(/*recurse=*/false)) {
      const at::Tensor& tensor = slot.value;
      if (!tensor.defined() || tensor.numel() == 0) continue;
      const auto [first, inserted] = first_at.try_emplace(
          Place(tensor.data_ptr(), tensor.scalar_type(), tensor.sizes().vec(),
                tensor.strides().vec()),
          tensor);
      if (!inserted && !first->second.is_same(tensor)) {
        submodule.setattr(slot.name, first->second);
      }
    }
  }
}

void ConvertFloatingTensors(const jit::Module& module, at::ScalarType dtype) {
  for (const c10::IValue& value : module.attributes(/*recurse=*/true)) {
    if (!value.isTensor()) continue;
    const at::Tensor& tensor = value.toTensor();
    if (!tensor.defined() || !at::isFloatingType(tensor.scalar_type())) {
      continue;
    }
    tensor.set_data(tensor.detach().to(dtype));
  }
}

// Weights in another memory format (channels_last) mean the same; layer rules
// read row-major ones.
void MakeRowMajor(const jit::Module& module) {
  for (const c10::IValue& value : module.attributes(/*recurse=*/true)) {
    if (!value.isTensor()) continue;
    const at::Tensor& tensor = value.toTensor();
    if (!tensor.defined() || tensor.layout() != at::kStrided ||
        tensor.is_contiguous()) {
      continue;
    }
    tensor.set_data(tensor.detach().contiguous());
  }
}

class ScriptModel : public Model {
 public:
  static absl::StatusOr<std::shared_ptr<const Model>> Create(
      jit::Module module, const ScriptModelOptions& options) {
    if (!module.find_method("forward").has_value()) {
      return absl::InvalidArgumentError(
          "model: found no forward(), expected a module with one");
    }
    TieAliases(module);
    if (options.dtype.has_value()) {
      ConvertFloatingTensors(module, *options.dtype);
    }
    MakeRowMajor(module);
    std::vector<NamedParameter> parameters;
    for (const auto& slot : module.named_parameters(/*recurse=*/true)) {
      parameters.push_back({slot.name, slot.value});
    }
    parameters = DistinctTrainable(parameters);
    INFLUENCE_RETURN_IF_ERROR(ValidateParameters(parameters));
    return std::shared_ptr<const Model>(
        new ScriptModel(std::move(module), std::move(parameters)));
  }

  absl::StatusOr<at::Tensor> Forward(
      const std::vector<at::Tensor>& x) const override {
    const int num_inputs = static_cast<int>(x.size());
    if (num_inputs < min_inputs_ || num_inputs > max_inputs_) {
      return absl::InvalidArgumentError(absl::StrCat(
          "model inputs: found ", num_inputs, ", expected ", min_inputs_,
          min_inputs_ == max_inputs_ ? "" : absl::StrCat(" to ", max_inputs_)));
    }
    return CatchTorch("model", [&]() -> absl::StatusOr<at::Tensor> {
      // The setting belongs to the thread.
      const jit::GraphOptimizerEnabledGuard keep_operators(false);
      jit::Module module = module_;  // A handle.
      const c10::IValue output =
          module.forward(std::vector<c10::IValue>(x.begin(), x.end()));
      if (!output.isTensor()) {
        return absl::InvalidArgumentError(absl::StrCat(
            "model output: found ", output.tagKind(), ", expected one tensor"));
      }
      return output.toTensor();
    });
  }

  std::vector<std::string> CouplingModules() const override {
    std::vector<std::string> lines;
    for (const auto& item : module_.named_modules()) {
      const absl::string_view coupling = CouplingOf(item.value);
      if (coupling.empty()) continue;
      lines.push_back(absl::StrCat(item.name.empty() ? "model" : item.name,
                                   " (", TypeName(item.value), " ", coupling,
                                   ")"));
    }
    return lines;
  }

 private:
  ScriptModel(jit::Module module, std::vector<NamedParameter> parameters)
      : Model(std::move(parameters)), module_(std::move(module)) {
    const auto& arguments =
        module_.get_method("forward").function().getSchema().arguments();
    for (size_t i = 1; i < arguments.size(); ++i) {  // Argument 0 is self.
      ++max_inputs_;
      if (!arguments[i].default_value().has_value()) ++min_inputs_;
    }
  }

  jit::Module module_;
  int min_inputs_ = 0;
  int max_inputs_ = 0;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const Model>> LoadScriptModel(
    const std::string& path, const ScriptModelOptions& options) {
  std::error_code error;
  const std::filesystem::file_status file =
      std::filesystem::status(path, error);
  if (!std::filesystem::exists(file)) {
    return absl::NotFoundError(
        absl::StrCat(path, ": found no file, expected a TorchScript file"));
  }
  if (!std::filesystem::is_regular_file(file)) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": found no regular file, expected a TorchScript file"));
  }
  std::optional<jit::Module> module;
  const absl::Status loaded = CatchTorch("TorchScript", [&] {
    jit::getProfilingMode() = false;
    module = jit::load(path, at::kCPU);
    return absl::OkStatus();
  });
  if (absl::IsResourceExhausted(loaded)) return loaded;
  if (!loaded.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": found what cannot be read (", loaded.message(),
        "), expected a TorchScript file as torch.jit.save writes it"));
  }
  absl::StatusOr<std::shared_ptr<const Model>> model = CatchTorch("model", [&] {
    return ScriptModel::Create(*std::move(module), options);
  });
  if (model.ok()) return model;
  return absl::Status(model.status().code(),
                      absl::StrCat(path, ": ", model.status().message()));
}

}  // namespace influence
