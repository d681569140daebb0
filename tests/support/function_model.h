// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A Model made of tensors and a function, for tests of what works on models.
//
//   const at::Tensor w = ParameterLike(at::ones({3, 2}, at::kDouble));
//   const auto model = std::make_shared<FunctionModel>(
//       std::vector<NamedParameter>{{"w", w}},
//       [w](const std::vector<at::Tensor>& x) { return x[0].mm(w); });
#ifndef INFLUENCE_TESTS_SUPPORT_FUNCTION_MODEL_H_
#define INFLUENCE_TESTS_SUPPORT_FUNCTION_MODEL_H_

#include <functional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gradients/model.h"

namespace influence {

// `values`, copied, as a leaf that requires grad.
at::Tensor ParameterLike(const at::Tensor& values);

class FunctionModel : public Model {
 public:
  using Function = std::function<at::Tensor(const std::vector<at::Tensor>& x)>;

  // Keeps what is trainable in `parameters`, as the real adapters do.
  FunctionModel(const std::vector<NamedParameter>& parameters,
                Function function,
                std::vector<std::string> coupling_modules = {});

  absl::StatusOr<at::Tensor> Forward(
      const std::vector<at::Tensor>& x) const override;

  std::vector<std::string> CouplingModules() const override {
    return coupling_modules_;
  }

  // What the real adapters check when they are made.
  static absl::Status Validate(const std::vector<NamedParameter>& parameters) {
    return ValidateParameters(DistinctTrainable(parameters));
  }

 private:
  Function function_;
  std::vector<std::string> coupling_modules_;
};

}  // namespace influence

#endif  // INFLUENCE_TESTS_SUPPORT_FUNCTION_MODEL_H_
