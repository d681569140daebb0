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
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "cli/method_options.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "influence/influence_mode.h"

namespace influence {

enum class Units {
  kRaw,         // S
  kLossChange,  // The first-order change it stands for: S / N, or -S / N.
};

// "raw", "loss_change".
absl::string_view UnitsName(Units units);

// Of every command.
struct RunOptions {
  std::optional<int64_t> batch_size;  // >= 1; chosen by the tool if not given.
  std::optional<int> num_threads;     // >= 1; LibTorch's choice if not given.

  // Bytes of the process, > 0, of commands that make a result.
  std::optional<int64_t> memory_limit;
  bool quiet = false;
  bool json = false;
};

// What a model is looked at with.
struct ModelOptions {
  std::string model;  // A TorchScript file.
  std::string train;  // Data: an .npz file or a folder.
  PerSampleFunction loss = CrossEntropyLoss();
  LogitsLayout logits_layout = LogitsLayout::kByShape;  // Of the loss.
  at::ScalarType dtype = at::kFloat;                    // Or kDouble.
};

struct InspectOptions : RunOptions, ModelOptions {
  BlockStructure block_structure = BlockStructure::kFull;
};

// A method and what it is fitted to.
struct FitSource : ModelOptions {
  MethodOptions method;
  int64_t seed = 0;
};

// What `influence fit` has made.
struct FittedSource {
  std::string folder;
  std::string model;  // In place of the path it remembers; empty if not given.
};

// One of the parts that a result is computed in, each by a process of its own.
struct Shard {
  int64_t index = 1;  // From 1 to count.
  int64_t count = 1;
};

// Where a result goes.
struct OutputOptions {
  std::string out;
  bool overwrite = false;
  bool resume = false;         // Go on with what an unfinished run has left.
  std::optional<Shard> shard;  // Of a .zarr; without overwrite.
};

struct FitOptions : RunOptions, OutputOptions {
  FitSource source;

  // Store the training samples' gradients, in full (0) or, where layers have
  // positions, to this rank.
  std::optional<int64_t> stored_rank;
};

// "loss", "margin" or "logit": what is differentiated on the query side. Only
// cross_entropy has the last two, and the loss may not be known yet.
absl::StatusOr<PerSampleFunction> ResolveQueryFunction(
    absl::string_view name, const PerSampleFunction& loss);

struct ScoresOptions : RunOptions, OutputOptions {
  std::variant<FitSource, FittedSource> source;
  std::string factors;  // A .zarr of factors in place of test; or empty.
  std::string train;    // The columns of the scores.
  std::string test;     // The rows; empty with factors.
  std::string query_function = "loss";  // Not with factors.
  InfluenceMode mode = InfluenceMode::kUp;
  Units units = Units::kRaw;
  double score_tolerance = 0;  // In [0, 1); kfac and ekfac only.
  bool by_block = false;

  // >= 1: only so many of the most helpful and harmful training samples of each
  // query are kept. In mode kUp, not by block, in a .zarr store.
  std::optional<int64_t> top_k;
};

struct FactorsOptions : RunOptions, OutputOptions {
  FittedSource source;
  std::string test;
  std::string query_function = "loss";
};

struct SelfOptions : RunOptions, OutputOptions {
  FittedSource source;
  std::string train;
  std::string query_function = "loss";
  Units units = Units::kRaw;
};

struct SpectrumOptions : RunOptions {
  FittedSource source;
  std::string test;                     // Empty if not given.
  std::string query_function = "loss";  // Of test.
  std::vector<double> regularizations;  // >= 0; two or more with test.
};

// What looks at a result needs no model.
struct TopOptions {
  std::string scores;        // A .zarr store.
  std::optional<int64_t> k;  // >= 1; 10, or all there are, if not given.
  bool quiet = false;
  bool json = false;
};

struct ReportOptions : OutputOptions {
  std::string scores;  // A .zarr store.
  std::string train;   // What they were computed from.
  std::string test;
  int64_t num_queries = 20;  // At most, from the first on; >= 1.
  std::optional<int64_t> k;  // >= 1; 8, or all there are, if not given.
  bool quiet = false;
};

// The user asked for text: --help, --version.
struct TextRequest {
  std::string text;
};

using CommandLine = std::variant<TextRequest, InspectOptions, FitOptions,
                                 ScoresOptions, FactorsOptions, SelfOptions,
                                 SpectrumOptions, TopOptions, ReportOptions>;

// `arguments`: without the program's name. Every failure is a usage error.
absl::StatusOr<CommandLine> ParseCommandLine(
    absl::Span<const std::string> arguments);

}  // namespace influence

#endif  // INFLUENCE_CLI_OPTIONS_H_
