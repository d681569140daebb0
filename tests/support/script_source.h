// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Models written as TorchScript source, in files as torch.jit.save makes them:
//
//   ScriptSource source;
//   source.parameters = {{"w", at::randn({2, 3})}};
//   source.code = R"(
//   def forward(self, x):
//       return torch.tanh(torch.linear(x, self.w))
//   )";
//   const std::string path = WriteScript(source, "model.pt");
#ifndef INFLUENCE_TESTS_SUPPORT_SCRIPT_SOURCE_H_
#define INFLUENCE_TESTS_SUPPORT_SCRIPT_SOURCE_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/model.h"

namespace influence {

struct ScriptSource {
  std::vector<std::pair<std::string, at::Tensor>> parameters;
  std::vector<std::pair<std::string, at::Tensor>> buffers;
  // Methods of a module, forward() among them. Functions are those of the
  // operator library ("torch." for "aten::"); torch.nn is not there.
  std::string code;
  bool training = false;
};

// Writes it below testing::TempDir() and returns the path. Aborts on code that
// does not compile.
std::string WriteScript(const ScriptSource& source, const std::string& name);

// LoadScriptModel() of that file.
absl::StatusOr<std::shared_ptr<const Model>> ModelOf(
    const ScriptSource& source);

}  // namespace influence

#endif  // INFLUENCE_TESTS_SUPPORT_SCRIPT_SOURCE_H_
