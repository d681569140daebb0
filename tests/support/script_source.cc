// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "tests/support/script_source.h"

#include <iostream>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gradients/model.h"
#include "gradients/script_model.h"
#include "gtest/gtest.h"
#include "torch/script.h"

namespace influence {

std::string WriteScript(const ScriptSource& source, const std::string& name) {
  torch::jit::Module module("Source");
  for (const auto& [parameter, tensor] : source.parameters) {
    module.register_parameter(parameter, tensor.detach().clone(), false);
    module.attr(parameter).toTensor().requires_grad_(true);
  }
  for (const auto& [buffer, tensor] : source.buffers) {
    module.register_buffer(buffer, tensor);
  }
  module.register_attribute("training", c10::BoolType::get(), source.training);
  try {
    module.define(source.code);
  } catch (const std::exception& error) {
    std::cerr << error.what() << source.code;
    INFLUENCE_CHECK(false);
  }
  const std::string path = absl::StrCat(testing::TempDir(), "/", name);
  module.save(path);
  return path;
}

absl::StatusOr<std::shared_ptr<const Model>> ModelOf(
    const ScriptSource& source) {
  return LoadScriptModel(WriteScript(source, "source.pt"));
}

}  // namespace influence
