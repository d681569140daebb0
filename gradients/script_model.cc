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
#include "ATen/core/grad_mode.h"
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

// The first other dtype that was found; `dtype` if there was none.
at::ScalarType ConvertFloatingTensors(const jit::Module& module,
                                      at::ScalarType dtype) {
  at::ScalarType found = dtype;
  for (const c10::IValue& value : module.attributes(/*recurse=*/true)) {
    if (!value.isTensor()) continue;
    const at::Tensor& tensor = value.toTensor();
    if (!tensor.defined() || !at::isFloatingType(tensor.scalar_type())) {
      continue;
    }
    if (found == dtype) found = tensor.scalar_type();
    tensor.set_data(tensor.detach().to(dtype));
  }
  return found;
}

// "a dict" for what forward() must not give.
std::string KindName(const c10::IValue& value) {
  if (value.isGenericDict()) return "a dict";
  if (value.isTuple()) return "a tuple";
  if (value.isList()) return "a list";
  if (value.isNone()) return "None";
  return absl::StrCat("a value of type ", value.tagKind());
}

bool TakesTensor(const c10::Argument& argument) {
  return c10::TensorType::get()->isSubtypeOf(*argument.type());
}

// forward() takes between `least` and `most` tensors.
struct InputCounts {
  int least = 0;
  int most = 0;
};

// kInvalidArgument, naming it, on an argument that is no tensor and has no
// default value. Tensors behind one that has cannot be given.
absl::StatusOr<InputCounts> CountInputs(const jit::Module& module) {
  const auto& arguments =
      module.get_method("forward").function().getSchema().arguments();
  InputCounts counts;
  bool reachable = true;
  for (size_t i = 1; i < arguments.size(); ++i) {  // Argument 0 is self.
    const c10::Argument& argument = arguments[i];
    const bool is_needed = !argument.default_value().has_value();
    if (!TakesTensor(argument)) {
      if (is_needed) {
        return absl::InvalidArgumentError(absl::StrCat(
            "model: found argument ", argument.name(), " of type ",
            argument.type()->repr_str(),
            " in forward(), expected tensors alone, as data files hold them; "
            "wrap the model so that forward() sets ",
            argument.name(), " itself"));
      }
      reachable = false;
      continue;
    }
    if (reachable) ++counts.most;
    if (is_needed) ++counts.least;
  }
  return counts;
}

// Why there is nothing to train; empty if there is.
absl::string_view WhyNothingIsTrainable(const jit::Module& module) {
  bool has_parameters = false;
  for (const auto& slot : module.named_parameters(/*recurse=*/true)) {
    if (slot.value.requires_grad()) return "";
    has_parameters = true;
  }
  if (has_parameters) {
    return "model: found no trainable parameter, as none of the model's "
           "requires grad, expected at least one";
  }
  return "model: found no trainable parameter, expected at least one that "
         "requires grad; torch.jit.freeze and optimize_for_inference make "
         "constants of the weights: save the model before it is frozen";
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
    INFLUENCE_ASSIGN_OR_RETURN(const InputCounts inputs, CountInputs(module));
    if (const absl::string_view why = WhyNothingIsTrainable(module);
        !why.empty()) {
      return absl::InvalidArgumentError(why);
    }
    TieAliases(module);
    std::optional<at::ScalarType> exported;
    if (options.dtype.has_value()) {
      exported = ConvertFloatingTensors(module, *options.dtype);
    }
    MakeRowMajor(module);
    std::vector<NamedParameter> parameters;
    for (const auto& slot : module.named_parameters(/*recurse=*/true)) {
      parameters.push_back({slot.name, slot.value});
    }
    parameters = DistinctTrainable(parameters);
    if (!options.any_floating_dtype) {
      INFLUENCE_RETURN_IF_ERROR(ValidateParameters(parameters));
    }
    return std::shared_ptr<const Model>(new ScriptModel(
        std::move(module), std::move(parameters), inputs, exported));
  }

  absl::StatusOr<at::Tensor> Forward(
      const std::vector<at::Tensor>& x) const override {
    const int num_inputs = static_cast<int>(x.size());
    if (num_inputs < inputs_.least || num_inputs > inputs_.most) {
      return absl::InvalidArgumentError(absl::StrCat(
          "model inputs: found ", num_inputs, ", expected ", inputs_.least,
          inputs_.least == inputs_.most ? ""
                                        : absl::StrCat(" to ", inputs_.most)));
    }
    return CatchTorch("model", [&]() -> absl::StatusOr<at::Tensor> {
      // The setting belongs to the thread.
      const jit::GraphOptimizerEnabledGuard keep_operators(false);
      jit::Module module = module_;  // A handle.
      const c10::IValue output =
          module.forward(std::vector<c10::IValue>(x.begin(), x.end()));
      if (!output.isTensor()) {
        return absl::InvalidArgumentError(absl::StrCat(
            "model output: found ", KindName(output),
            ", expected one tensor; wrap the model so that forward() returns "
            "the one that the loss takes"));
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

  at::ScalarType exported_dtype() const override {
    return exported_dtype_.value_or(dtype());
  }

  absl::StatusOr<std::shared_ptr<const Model>> CopyAs(
      at::ScalarType dtype) const override {
    return CatchTorch(
        "model", [&]() -> absl::StatusOr<std::shared_ptr<const Model>> {
          std::optional<jit::Module> copy;
          {
            const at::NoGradGuard
                leaves;  // Copies are not made by an operator.
            copy = module_.deepcopy();
          }
          // Aliases stay aliases.
          const jit::parameter_list originals = module_.parameters();
          auto original = originals.begin();
          for (const at::Tensor& tensor : copy->parameters()) {
            tensor.set_requires_grad((*original).requires_grad());
            ++original;
          }
          return Create(*std::move(copy), {.dtype = dtype});
        });
  }

 private:
  ScriptModel(jit::Module module, std::vector<NamedParameter> parameters,
              const InputCounts& inputs,
              std::optional<at::ScalarType> exported_dtype)
      : Model(std::move(parameters)),
        module_(std::move(module)),
        inputs_(inputs),
        exported_dtype_(exported_dtype) {}

  jit::Module module_;
  InputCounts inputs_;
  std::optional<at::ScalarType> exported_dtype_;
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
