// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The command line as typed: commands, options, their values and help. Nothing
// is opened or computed here; what can be refused by looking at the command
// line alone is refused here, with a usage error (usage_error.h).
#ifndef INFLUENCE_CLI_OPTIONS_H_
#define INFLUENCE_CLI_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "influence/influence_mode.h"
#include "influence/regularization.h"
#include "operators/curvature.h"

namespace influence {

enum class Method { kIdentity, kDirect };

// "identity", "direct".
absl::string_view MethodName(Method method);

enum class Units {
  kRaw,         // S
  kLossChange,  // The first-order change it stands for: S / N, or -S / N.
};

// "raw", "loss_change".
absl::string_view UnitsName(Units units);

// Shared by all commands.
struct CommonOptions {
  std::string model;  // A TorchScript file.
  std::string train;  // Data: an .npz file or a folder.
  PerSampleFunction loss = CrossEntropyLoss();
  at::ScalarType dtype = at::kFloat;  // Or kDouble.
  BlockStructure block_structure = BlockStructure::kFull;
  std::optional<int64_t> batch_size;  // >= 1; chosen by the tool if not given.
  std::optional<int> num_threads;     // >= 1; LibTorch's choice if not given.
  int64_t seed = 0;
  bool quiet = false;
  bool json = false;
};

struct InspectOptions : CommonOptions {};

struct ScoresOptions : CommonOptions {
  std::string test;
  std::string out;  // Ends in ".npy".
  bool overwrite = false;
  Method method = Method::kIdentity;
  Curvature curvature = Curvature::kHessian;  // kIdentity has none.
  Regularization regularization;              // kIdentity has none.
  InfluenceMode mode = InfluenceMode::kUp;
  Units units = Units::kRaw;
  PerSampleFunction query_function = CrossEntropyLoss();
};

// The user asked for text: --help, --version.
struct TextRequest {
  std::string text;
};

using CommandLine = std::variant<TextRequest, InspectOptions, ScoresOptions>;

// `arguments`: without the program's name. Every failure is a usage error.
absl::StatusOr<CommandLine> ParseCommandLine(
    absl::Span<const std::string> arguments);

}  // namespace influence

#endif  // INFLUENCE_CLI_OPTIONS_H_
