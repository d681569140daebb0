// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What the library needs to know of a trained model: its trainable parameters
// and its forward function. Adapters: module_model.h for torch::nn modules,
// script_model.h for TorchScript files.
#ifndef INFLUENCE_GRADIENTS_MODEL_H_
#define INFLUENCE_GRADIENTS_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace influence {

struct NamedParameter {
  std::string name;   // As in named_parameters(): "layer1.0.weight".
  at::Tensor tensor;  // The model's own tensor, a leaf that requires grad.
};

// Thread-safe if the wrapped model's forward is (modules without buffers that
// change are).
class Model {
 public:
  virtual ~Model() = default;

  // f(x), [N, ...]: one tensor, row n for sample n. Follows the caller's grad
  // mode. kInvalidArgument on a wrong number of inputs, kInternal with
  // LibTorch's message if the model fails, e.g. on a wrong shape.
  virtual absl::StatusOr<at::Tensor> Forward(
      const std::vector<at::Tensor>& x) const = 0;

  // One line for each module that makes a sample's output depend on the other
  // samples of its batch or on chance: "bn1 (BatchNorm2d in training mode)".
  virtual std::vector<std::string> CouplingModules() const = 0;

  // The dtype of what the model was made with, parameters and buffers: another
  // than dtype() where they were converted, and then numbers that are built
  // into its code may still be in the old one.
  virtual at::ScalarType exported_dtype() const { return dtype(); }

  // A model with tensors of its own, in `dtype`, which may be changed without
  // any effect on this one. kUnimplemented where the adapter cannot copy.
  virtual absl::StatusOr<std::shared_ptr<const Model>> CopyAs(
      at::ScalarType dtype) const;

  // The trainable parameters, each tensor once, under its first name, in the
  // order of named_parameters().
  const std::vector<NamedParameter>& parameters() const { return parameters_; }

  // P, the number of trainable scalars.
  int64_t num_parameters() const { return num_parameters_; }

  // The dtype of the parameters.
  at::ScalarType dtype() const { return parameters_[0].tensor.scalar_type(); }

 protected:
  // `parameters` as ValidateParameters() accepts and DistinctTrainable() makes
  // them.
  explicit Model(std::vector<NamedParameter> parameters);

  // Drops what does not require grad and later aliases of one tensor.
  static std::vector<NamedParameter> DistinctTrainable(
      const std::vector<NamedParameter>& parameters);

  // At least one, all floating and of one dtype, all entries finite.
  // kInvalidArgument naming the parameter.
  static absl::Status ValidateParameters(
      const std::vector<NamedParameter>& parameters);

 private:
  std::vector<NamedParameter> parameters_;
  int64_t num_parameters_ = 0;
};

// kInvalidArgument, naming the modules, if there are CouplingModules().
absl::Status ValidateUncoupled(const Model& model);

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_MODEL_H_
