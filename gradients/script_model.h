// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Model adapter for TorchScript files, as torch.jit.save or
// torch::jit::Module::save write them.
#ifndef INFLUENCE_GRADIENTS_SCRIPT_MODEL_H_
#define INFLUENCE_GRADIENTS_SCRIPT_MODEL_H_

#include <memory>
#include <optional>
#include <string>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/model.h"

namespace influence {

struct ScriptModelOptions {
  // Converts parameters and buffers; the file's own dtype where not given.
  std::optional<at::ScalarType> dtype;

  // Takes files in half precision as they are. Of such a model nothing but
  // Forward() may be used.
  bool any_floating_dtype = false;
};

// Loads `path` on the CPU, all tensors row-major. Never calls eval(). Switches
// off the process's TorchScript profiling executor, whose fused kernels hide
// operators. kNotFound if the file does not exist; kInvalidArgument, naming the
// file, if it cannot be read as TorchScript (truncated, a pickled state dict,
// ...), has no trainable parameter or a non-finite one, or if forward() takes
// something other than tensors that has no default value.
absl::StatusOr<std::shared_ptr<const Model>> LoadScriptModel(
    const std::string& path, const ScriptModelOptions& options = {});

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_SCRIPT_MODEL_H_
