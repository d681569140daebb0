// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "cli/byte_text.h"
#include "cli/method_options.h"
#include "cli/option_values.h"
#include "cli/usage_error.h"
#include "cli/version.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "influence/influence_mode.h"

namespace influence {
namespace {

// More threads than any machine has; LibTorch would try to start them all.
constexpr int64_t kMaxThreads = 1024;

constexpr absl::string_view kOverview =
    R"(Which training samples made a model predict what it predicts.

Usage: influence COMMAND OPTIONS

Commands:
  inspect   what the tool sees in a model: parameters, blocks, fast path
  fit       prepare a method for a model and its training data, to be used often
  scores    influence of every training sample on every query sample
  factors   the queries' half of the scores: inverse curvature times gradient
  self      influence of every training sample on itself
  top       the most helpful and harmful training samples of each query
  report    the same as a page, with images, distribution and what was run
  spectrum  eigenvalues of a fit, and how scores depend on the regularization

Example:
  influence inspect --model m.pt --train train.npz --loss cross_entropy
  influence scores  --model m.pt --train train.npz --test test.npz \
      --loss cross_entropy --method ekfac --out scores.zarr

Or fitted once and used often:
  influence fit     --model m.pt --train train.npz --loss cross_entropy \
      --method ekfac --regularization 1e-3 --out fitted
  influence scores  --fitted fitted --train train.npz --test test.npz \
      --out scores.zarr
  influence self    --fitted fitted --train train.npz --out self.npy

What the scores say:
  influence top     --scores scores.zarr --k 10
  influence report  --scores scores.zarr --train train.npz --test test.npz \
      --out report.html

Data are .npz files with arrays x (or x0, x1, ... for several inputs) and y, or
folders with x.npy and y.npy; the model is a TorchScript file. A result goes to
a .zarr directory, which says how it was made, or to a .npy file.

influence COMMAND --help lists a command's options; influence --version prints
the version.
)";

constexpr absl::string_view kInspectDescription =
    "Prints the number of parameters P, the blocks, which layer rule serves "
    "each parameter, and whether per-sample gradients agree with autograd.";

constexpr absl::string_view kInspectExample =
    "Example:\n"
    "  influence inspect --model m.pt --train train.npz --loss cross_entropy\n";

constexpr absl::string_view kFitDescription =
    "Fits a method to a model and its training data and stores what it found "
    "in a folder, for scores, factors, self and spectrum to start from.";

constexpr absl::string_view kFitExample =
    "Example:\n"
    "  influence fit --model m.pt --train train.npz --loss cross_entropy \\\n"
    "      --method ekfac --regularization 1e-3 --out fitted\n";

constexpr absl::string_view kScoresDescription =
    "Computes the influence of every training sample (N) on every query sample "
    "(M): [M, N], or [M, N, *shape of one x] with --mode perturbation. The "
    "method is fitted first (--model, --loss, --method and its options) or "
    "comes from influence fit (--fitted).";

constexpr absl::string_view kScoresExample =
    "Examples:\n"
    "  influence scores --model m.pt --train train.npz --test test.npz \\\n"
    "      --loss cross_entropy --method direct --regularization 1e-3 \\\n"
    "      --out scores.npy\n"
    "  influence scores --fitted fitted --train train.npz --test test.npz \\\n"
    "      --out scores.zarr\n"
    "  influence scores --factors factors.zarr --fitted fitted \\\n"
    "      --train train.npz --out scores.zarr\n";

constexpr absl::string_view kFactorsDescription =
    "Computes the factors of the queries, the rows A^-1 grad q(z_i): [M, P]. "
    "Scores with any training data follow from them without solving again.";

constexpr absl::string_view kFactorsExample =
    "Example:\n"
    "  influence factors --fitted fitted --test test.npz --out factors.zarr\n";

constexpr absl::string_view kSelfDescription =
    "Computes the influence S[j, j] of every training sample on itself: [N].";

constexpr absl::string_view kSelfExample =
    "Example:\n"
    "  influence self --fitted fitted --train train.npz --out self.npy\n";

constexpr absl::string_view kSpectrumDescription =
    "Prints the eigenvalues of a fitted curvature, block by block, and, given "
    "queries and a list of regularizations, how much the scores depend on it.";

constexpr absl::string_view kSpectrumExample =
    "Example:\n"
    "  influence spectrum --fitted fitted --test test.npz \\\n"
    "      --regularizations 1e-4,1e-3,1e-2\n";

constexpr absl::string_view kTopDescription =
    "Prints the most helpful and the most harmful training samples of each "
    "query, strongest first, from what influence scores wrote to a .zarr "
    "store, with --top-k or without.";

constexpr absl::string_view kTopExample =
    "Example:\n"
    "  influence top --scores scores.zarr --k 10\n"
    "\n"
    "A .npy file does not say what its scores are of, nor which sign helps, "
    "and is refused.\n";

constexpr absl::string_view kReportDescription =
    "Writes a page that needs nothing else: for each query the most helpful "
    "and harmful training samples (as images where x is [N, H, W] or [N, C, H, "
    "W] with C 1 or 3), their labels and scores, the distribution of the "
    "scores, and what was run.";

constexpr absl::string_view kReportExample =
    "Example:\n"
    "  influence report --scores scores.zarr --train train.npz \\\n"
    "      --test test.npz --out report.html\n";

// What CLI11 is used for: cutting the arguments into options and writing the
// help. Values stay text here, so that all errors are worded in one place.
class Arguments {
 public:
  Arguments(absl::string_view command, absl::string_view description,
            absl::string_view example)
      : app_(std::string(description), absl::StrCat("influence ", command)) {
    app_.footer(std::string(example));
    app_.allow_extras();
    app_.set_help_flag("-h,--help", "Print this help");
  }

  void AddOption(const std::string& name, const std::string& value,
                 const std::string& help) {
    names_.push_back(name);
    app_.add_option(name, values_[name], help)
        ->type_name(value)
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->allow_extra_args(false);
  }

  void AddFlag(const std::string& name, const std::string& help) {
    names_.push_back(name);
    app_.add_flag(name, flags_[name], help);
  }

  // The help text if it was asked for.
  absl::StatusOr<std::optional<std::string>> Parse(
      absl::Span<const std::string> arguments) {
    // CLI11 takes them last first.
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    try {
      app_.parse(reversed);
    } catch (const CLI::CallForHelp&) {
      return app_.help();
    } catch (const CLI::ParseError& error) {
      const std::string message = error.what();
      const std::string option = message.substr(0, message.find(':'));
      if (values_.contains(option)) {
        return UsageError(option, "no value", "one after it");
      }
      return AsUsageError("command line", absl::InvalidArgumentError(message));
    }
    for (const std::string& extra : app_.remaining()) {
      if (!absl::StartsWith(extra, "-")) continue;
      return UsageError(extra.substr(0, extra.find('=')), "an unknown option",
                        absl::StrCat("one of ", absl::StrJoin(names_, ", ")));
    }
    if (!app_.remaining().empty()) {
      return UsageError("command line", Quoted(app_.remaining()[0]),
                        "options only, each with its value after it");
    }
    for (const auto& [name, values] : values_) {
      if (values.size() > 1) {
        return UsageError(name, absl::StrCat(values.size(), " values"), "one");
      }
      if (values.empty()) continue;
      if (absl::StartsWith(values[0], "--")) {
        return UsageError(
            name, absl::StrCat("no value, but the option ", Quoted(values[0])),
            "a value after it");
      }
      if (values[0].empty()) {
        return UsageError(name, "an empty value", "a value");
      }
    }
    return std::nullopt;
  }

  bool Flag(const std::string& name) const { return flags_.at(name); }

  bool Has(const std::string& name) const {
    const auto flag = flags_.find(name);
    return flag == flags_.end() ? Value(name).has_value() : flag->second;
  }

  std::optional<std::string> Value(const std::string& name) const {
    const std::vector<std::string>& values = values_.at(name);
    if (values.empty()) return std::nullopt;
    return values[0];
  }

  absl::StatusOr<std::string> Required(const std::string& name,
                                       absl::string_view expected) const {
    const std::optional<std::string> value = Value(name);
    if (!value.has_value()) return UsageError(name, "nothing", expected);
    return *value;
  }

 private:
  CLI::App app_;
  std::vector<std::string> names_;  // In the order of the help.
  std::map<std::string, std::vector<std::string>> values_;
  std::map<std::string, bool> flags_;
};

constexpr char kLogitsLayout[] = "--logits-layout";

// What the options of a command may be beside --fitted, which comes with a
// model, a method and all of its options.
std::vector<std::string> OptionsOfFit() {
  std::vector<std::string> names = {"--loss", kLogitsLayout, "--method"};
  for (const MethodOption& option : MethodOptionTable()) {
    names.emplace_back(option.name);
  }
  names.insert(names.end(), {"--dtype", "--seed"});
  return names;
}

constexpr char kDataPath[] = "the path of an .npz file or a folder";

void AddModelOptions(Arguments& arguments) {
  arguments.AddOption("--model", "FILE", "TorchScript file of the model");
  arguments.AddOption("--train", "DATA",
                      "Training data: .npz file, or folder of .npy files");
}

void AddTestOption(Arguments& arguments) {
  arguments.AddOption("--test", "DATA",
                      "Query data: .npz file, or folder of .npy files");
}

void AddLossOption(Arguments& arguments) {
  arguments.AddOption("--loss", "NAME",
                      "Training loss: " + absl::StrJoin(LossNames(), ", "));
  arguments.AddOption(kLogitsLayout, "NAME",
                      "Of cross_entropy with several predictions a sample: "
                      "classes_last ([N, T, K]) or classes_second ([N, K, T]); "
                      "by the shape of y where not given");
}

void AddFittedOption(Arguments& arguments) {
  arguments.AddOption("--fitted", "FOLDER", "What influence fit has made");
}

void AddModelOverride(Arguments& arguments) {
  arguments.AddOption("--model", "FILE",
                      "Where the model of the fit is now, if it has moved");
}

void AddMethodOptions(Arguments& arguments) {
  std::vector<absl::string_view> names;
  for (const Method method : AllMethods()) names.push_back(MethodName(method));
  arguments.AddOption("--method", "NAME",
                      absl::StrCat("What stands for the inverse curvature: ",
                                   absl::StrJoin(names, ", ")));
  for (const MethodOption& option : MethodOptionTable()) {
    arguments.AddOption(std::string(option.name), std::string(option.value),
                        option.help);
  }
}

void AddDtypeOption(Arguments& arguments) {
  arguments.AddOption("--dtype", "NAME",
                      "Of model and floating inputs: float32 (default) or "
                      "float64");
}

void AddSeedOption(Arguments& arguments) {
  arguments.AddOption("--seed", "N",
                      "Of random numbers (default 0): lissa, arnoldi, nystroem "
                      "and --fisher sampled draw some");
}

void AddQueryFunctionOption(Arguments& arguments) {
  arguments.AddOption("--query-function", "NAME",
                      "What is explained of a query: loss (default), margin or "
                      "logit");
}

void AddUnitsOption(Arguments& arguments) {
  arguments.AddOption("--units", "NAME",
                      "raw (default) or loss_change, the first-order change of "
                      "the query function");
}

void AddOutputOptions(Arguments& arguments, const std::string& help) {
  arguments.AddOption("--out", "PATH", help);
  arguments.AddFlag("--overwrite", "Replace --out if it exists");
  arguments.AddFlag("--resume",
                    "Go on with what a stopped run of the same command has "
                    "left, or start where there is nothing");
}

void AddShardOption(Arguments& arguments) {
  arguments.AddOption("--shard", "I/N",
                      "Compute every N-th part of a .zarr only, from part I "
                      "on; N processes with I from 1 to N share the store");
}

void AddMemoryLimitOption(Arguments& arguments) {
  arguments.AddOption("--memory-limit", "SIZE",
                      "Most memory the process may take, as 4GiB: batches and "
                      "tiles are made small enough, or it is an error");
}

absl::Status ParseMemoryLimit(const Arguments& arguments, RunOptions& options) {
  if (const auto value = arguments.Value("--memory-limit")) {
    INFLUENCE_ASSIGN_OR_RETURN(options.memory_limit,
                               ParseBytes("--memory-limit", *value));
  }
  return absl::OkStatus();
}

// Listed last.
void AddRunOptions(Arguments& arguments) {
  arguments.AddOption("--batch-size", "N",
                      "Samples a batch, or auto (default); results do not "
                      "depend on it, but those of lissa");
  arguments.AddOption("--threads", "N",
                      "Threads to compute with (default: all cores)");
  arguments.AddFlag("--quiet", "Print errors only on standard error");
  arguments.AddFlag("--json", "Print the result as JSON on standard output");
}

absl::Status ParseRunOptions(const Arguments& arguments, RunOptions& options) {
  if (const auto value = arguments.Value("--batch-size");
      value.has_value() && *value != "auto") {
    INFLUENCE_ASSIGN_OR_RETURN(options.batch_size,
                               ParseInteger("--batch-size", *value, 1,
                                            std::numeric_limits<int32_t>::max(),
                                            "auto or an integer >= 1"));
  }
  if (const auto value = arguments.Value("--threads")) {
    INFLUENCE_ASSIGN_OR_RETURN(
        options.num_threads,
        ParseInteger("--threads", *value, 1, kMaxThreads,
                     absl::StrCat("an integer from 1 to ", kMaxThreads)));
  }
  options.quiet = arguments.Flag("--quiet");
  options.json = arguments.Flag("--json");
  return absl::OkStatus();
}

absl::Status ParseModelOptions(const Arguments& arguments,
                               ModelOptions& options) {
  INFLUENCE_ASSIGN_OR_RETURN(
      options.model,
      arguments.Required("--model", "the path of a TorchScript file"));
  INFLUENCE_ASSIGN_OR_RETURN(options.train,
                             arguments.Required("--train", kDataPath));
  const std::string losses =
      absl::StrCat("one of ", absl::StrJoin(LossNames(), ", "));
  INFLUENCE_ASSIGN_OR_RETURN(const std::string loss,
                             arguments.Required("--loss", losses));
  absl::StatusOr<PerSampleFunction> function = LossByName(loss);
  if (!function.ok()) return UsageError("--loss", Quoted(loss), losses);
  options.loss = *std::move(function);
  if (const auto value = arguments.Value(kLogitsLayout)) {
    INFLUENCE_RETURN_IF_ERROR(
        Choose<LogitsLayout>(kLogitsLayout, *value,
                             {{"classes_last", LogitsLayout::kClassesLast},
                              {"classes_second", LogitsLayout::kClassesSecond}},
                             options.logits_layout));
    if (options.loss.name() != CrossEntropyLoss().name()) {
      return UsageError(kLogitsLayout,
                        absl::StrCat(Quoted(*value), " with --loss ", loss),
                        "it only with --loss cross_entropy");
    }
    options.loss = CrossEntropyLoss({.layout = options.logits_layout});
  }
  if (const auto value = arguments.Value("--dtype")) {
    INFLUENCE_RETURN_IF_ERROR(Choose<at::ScalarType>(
        "--dtype", *value, {{"float32", at::kFloat}, {"float64", at::kDouble}},
        options.dtype));
  }
  return absl::OkStatus();
}

absl::Status ParseFitSource(const Arguments& arguments, FitSource& source) {
  INFLUENCE_RETURN_IF_ERROR(ParseModelOptions(arguments, source));
  std::vector<absl::string_view> names;
  for (const Method method : AllMethods()) names.push_back(MethodName(method));
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::string method,
      arguments.Required("--method",
                         absl::StrCat("one of ", absl::StrJoin(names, ", "))));
  INFLUENCE_ASSIGN_OR_RETURN(
      source.method, ParseMethodOptions(method, [&](const std::string& name) {
        return arguments.Value(name);
      }));
  if (const auto value = arguments.Value("--seed")) {
    INFLUENCE_ASSIGN_OR_RETURN(
        source.seed,
        ParseInteger("--seed", *value, 0, std::numeric_limits<int64_t>::max(),
                     "an integer >= 0"));
  }
  return absl::OkStatus();
}

absl::Status ParseFittedSource(const Arguments& arguments,
                               FittedSource& source) {
  INFLUENCE_ASSIGN_OR_RETURN(
      source.folder,
      arguments.Required("--fitted", "a folder that influence fit has made"));
  source.model = arguments.Value("--model").value_or("");
  return absl::OkStatus();
}

absl::Status ParseQueryFunction(const Arguments& arguments, std::string& name) {
  const auto value = arguments.Value("--query-function");
  if (!value.has_value()) return absl::OkStatus();
  return Choose<std::string>(
      "--query-function", *value,
      {{"loss", "loss"}, {"margin", "margin"}, {"logit", "logit"}}, name);
}

absl::Status ParseUnits(const Arguments& arguments, Units& units) {
  const auto value = arguments.Value("--units");
  if (!value.has_value()) return absl::OkStatus();
  return Choose<Units>(
      "--units", *value,
      {{"raw", Units::kRaw}, {"loss_change", Units::kLossChange}}, units);
}

// "3/8": the third of eight.
absl::StatusOr<Shard> ParseShard(const std::string& text) {
  constexpr char kExpected[] = "I/N, integers with I from 1 to N";
  const std::vector<std::string> parts = absl::StrSplit(text, '/');
  Shard shard;
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &shard.index) ||
      !absl::SimpleAtoi(parts[1], &shard.count) || shard.index < 1 ||
      shard.index > shard.count) {
    return UsageError("--shard", Quoted(text), kExpected);
  }
  return shard;
}

// Of an array: a path ending in .zarr or .npy.
absl::Status ParseArrayOutput(const Arguments& arguments,
                              OutputOptions& options) {
  constexpr char kExpected[] = "a path ending in .zarr or .npy";
  INFLUENCE_ASSIGN_OR_RETURN(options.out,
                             arguments.Required("--out", kExpected));
  while (absl::EndsWith(options.out, ".zarr/")) options.out.pop_back();
  if (!absl::EndsWith(options.out, ".zarr") &&
      !absl::EndsWith(options.out, ".npy")) {
    return UsageError("--out", Quoted(options.out), kExpected);
  }
  options.overwrite = arguments.Flag("--overwrite");
  options.resume = arguments.Flag("--resume");
  if (const auto value = arguments.Value("--shard")) {
    INFLUENCE_ASSIGN_OR_RETURN(options.shard, ParseShard(*value));
    if (options.overwrite) {
      return UsageError("--overwrite", Quoted("--overwrite"),
                        "nothing beside --shard: a shard that comes late would "
                        "replace what the others have made");
    }
  }
  if (absl::EndsWith(options.out, ".npy") &&
      (options.resume || options.shard.has_value())) {
    return UsageError(options.resume ? "--resume" : "--shard",
                      Quoted(options.out),
                      "a path ending in .zarr for --out: a .npy file is there "
                      "when it is whole, and keeps nothing of a stopped run");
  }
  return absl::OkStatus();
}

// A usage error for the first of `names` that is given beside `other`.
absl::Status RefuseBeside(const Arguments& arguments,
                          const std::vector<std::string>& names,
                          absl::string_view other, absl::string_view reason) {
  for (const std::string& name : names) {
    if (!arguments.Has(name)) continue;
    return UsageError(name, Quoted(arguments.Value(name).value_or(name)),
                      absl::StrCat("nothing beside ", other, ", ", reason));
  }
  return absl::OkStatus();
}

constexpr char kFitRemembers[] =
    "which has the loss, the method and its options from the fit";

absl::StatusOr<CommandLine> ParseInspect(absl::Span<const std::string> words) {
  Arguments arguments("inspect", kInspectDescription, kInspectExample);
  AddModelOptions(arguments);
  AddLossOption(arguments);
  arguments.AddOption("--block-structure", "NAME",
                      "Blocks to list: full (default), layer or parameter");
  AddDtypeOption(arguments);
  AddSeedOption(arguments);
  AddRunOptions(arguments);
  INFLUENCE_ASSIGN_OR_RETURN(std::optional<std::string> help,
                             arguments.Parse(words));
  if (help.has_value()) return TextRequest{*std::move(help)};
  InspectOptions options;
  INFLUENCE_RETURN_IF_ERROR(ParseModelOptions(arguments, options));
  if (const auto value = arguments.Value("--block-structure")) {
    INFLUENCE_RETURN_IF_ERROR(
        Choose<BlockStructure>("--block-structure", *value,
                               {{"full", BlockStructure::kFull},
                                {"layer", BlockStructure::kLayer},
                                {"parameter", BlockStructure::kParameter}},
                               options.block_structure));
  }
  INFLUENCE_RETURN_IF_ERROR(ParseRunOptions(arguments, options));
  return options;
}

// Number of samples, where it is given.
absl::Status ParseCount(const Arguments& arguments, const std::string& name,
                        std::optional<int64_t>& count) {
  const auto value = arguments.Value(name);
  if (!value.has_value()) return absl::OkStatus();
  INFLUENCE_ASSIGN_OR_RETURN(
      count, ParseInteger(name, *value, 1, std::numeric_limits<int64_t>::max(),
                          "an integer >= 1"));
  return absl::OkStatus();
}

absl::StatusOr<CommandLine> ParseFit(absl::Span<const std::string> words) {
  Arguments arguments("fit", kFitDescription, kFitExample);
  AddModelOptions(arguments);
  AddLossOption(arguments);
  AddOutputOptions(arguments, "The folder to write");
  AddMethodOptions(arguments);
  arguments.AddFlag("--store-gradients",
                    "Keep the training samples' gradients: scores against "
                    "them need no pass over the data");
  arguments.AddOption("--stored-rank", "R",
                      "Keep R singular factors of gradients of layers with "
                      "positions, not all; needs --store-gradients");
  AddDtypeOption(arguments);
  AddSeedOption(arguments);
  AddMemoryLimitOption(arguments);
  AddRunOptions(arguments);
  INFLUENCE_ASSIGN_OR_RETURN(std::optional<std::string> help,
                             arguments.Parse(words));
  if (help.has_value()) return TextRequest{*std::move(help)};
  FitOptions options;
  INFLUENCE_RETURN_IF_ERROR(ParseFitSource(arguments, options.source));
  INFLUENCE_ASSIGN_OR_RETURN(
      options.out, arguments.Required("--out", "the path of a folder"));
  while (options.out.size() > 1 && options.out.back() == '/') {
    options.out.pop_back();
  }
  options.overwrite = arguments.Flag("--overwrite");
  options.resume = arguments.Flag("--resume");
  INFLUENCE_RETURN_IF_ERROR(
      ParseCount(arguments, "--stored-rank", options.stored_rank));
  if (arguments.Flag("--store-gradients")) {
    options.stored_rank = options.stored_rank.value_or(0);
  } else if (options.stored_rank.has_value()) {
    return UsageError("--stored-rank",
                      Quoted(*arguments.Value("--stored-rank")),
                      "--store-gradients beside it");
  }
  INFLUENCE_RETURN_IF_ERROR(ParseMemoryLimit(arguments, options));
  INFLUENCE_RETURN_IF_ERROR(ParseRunOptions(arguments, options));
  return options;
}

// After all other options of scores.
absl::Status ParseTopK(const Arguments& arguments, ScoresOptions& options) {
  INFLUENCE_RETURN_IF_ERROR(ParseCount(arguments, "--top-k", options.top_k));
  if (!options.top_k.has_value()) return absl::OkStatus();
  const std::string found = Quoted(*arguments.Value("--top-k"));
  if (options.mode == InfluenceMode::kPerturbation) {
    return UsageError("--top-k", found, "nothing with --mode perturbation");
  }
  if (options.by_block) {
    return UsageError("--top-k", found, "nothing with --by-block");
  }
  if (absl::EndsWith(options.out, ".npy")) {
    return UsageError("--top-k",
                      absl::StrCat(found, " with --out ", Quoted(options.out)),
                      "a path ending in .zarr for --out: a .npy file holds one "
                      "array");
  }
  return absl::OkStatus();
}

absl::StatusOr<CommandLine> ParseScores(absl::Span<const std::string> words) {
  Arguments arguments("scores", kScoresDescription, kScoresExample);
  AddModelOptions(arguments);
  AddTestOption(arguments);
  AddLossOption(arguments);
  AddFittedOption(arguments);
  arguments.AddOption("--factors", "DATA",
                      "What influence factors has made (.zarr), in place of "
                      "--test; needs --fitted");
  AddOutputOptions(arguments, "The .zarr directory or .npy file to write");
  AddShardOption(arguments);
  AddMethodOptions(arguments);
  arguments.AddOption("--mode", "NAME", "up (default) or perturbation");
  AddUnitsOption(arguments);
  AddQueryFunctionOption(arguments);
  arguments.AddOption(
      "--score-tolerance", "X",
      "kfac, ekfac: relative error allowed in the inverse, in [0, 1), in "
      "exchange for speed (default 0)");
  arguments.AddFlag("--by-block",
                    "Write the scores of each block, not their sum (.zarr)");
  arguments.AddOption("--top-k", "K",
                      "Keep only the K most helpful and harmful training "
                      "samples of each query (.zarr)");
  AddDtypeOption(arguments);
  AddSeedOption(arguments);
  AddMemoryLimitOption(arguments);
  AddRunOptions(arguments);
  INFLUENCE_ASSIGN_OR_RETURN(std::optional<std::string> help,
                             arguments.Parse(words));
  if (help.has_value()) return TextRequest{*std::move(help)};

  ScoresOptions options;
  const bool has_factors = arguments.Has("--factors");
  if (has_factors || arguments.Has("--fitted")) {
    FittedSource fitted;
    INFLUENCE_RETURN_IF_ERROR(ParseFittedSource(arguments, fitted));
    INFLUENCE_RETURN_IF_ERROR(
        RefuseBeside(arguments, OptionsOfFit(), "--fitted", kFitRemembers));
    INFLUENCE_ASSIGN_OR_RETURN(options.train,
                               arguments.Required("--train", kDataPath));
    options.source = std::move(fitted);
  } else {
    FitSource fit;
    INFLUENCE_RETURN_IF_ERROR(ParseFitSource(arguments, fit));
    options.train = fit.train;
    options.source = std::move(fit);
  }
  if (has_factors) {
    options.factors = *arguments.Value("--factors");
    while (absl::EndsWith(options.factors, ".zarr/")) {
      options.factors.pop_back();
    }
    if (!absl::EndsWith(options.factors, ".zarr")) {
      return UsageError("--factors", Quoted(options.factors),
                        "a path ending in .zarr (a .npy file does not say "
                        "which fit its factors come from)");
    }
    INFLUENCE_RETURN_IF_ERROR(RefuseBeside(
        arguments, {"--test", "--query-function", "--score-tolerance"},
        "--factors", "whose queries are solved for already"));
  } else {
    INFLUENCE_ASSIGN_OR_RETURN(options.test,
                               arguments.Required("--test", kDataPath));
  }
  INFLUENCE_RETURN_IF_ERROR(ParseArrayOutput(arguments, options));
  if (const auto value = arguments.Value("--mode")) {
    INFLUENCE_RETURN_IF_ERROR(
        Choose<InfluenceMode>("--mode", *value,
                              {{"up", InfluenceMode::kUp},
                               {"perturbation", InfluenceMode::kPerturbation}},
                              options.mode));
  }
  INFLUENCE_RETURN_IF_ERROR(ParseUnits(arguments, options.units));
  INFLUENCE_RETURN_IF_ERROR(
      ParseQueryFunction(arguments, options.query_function));
  if (const auto value = arguments.Value("--score-tolerance")) {
    INFLUENCE_ASSIGN_OR_RETURN(
        options.score_tolerance,
        ParseNumber("--score-tolerance", *value, 0, 1, "a number in [0, 1)"));
    if (options.mode == InfluenceMode::kPerturbation) {
      return UsageError("--score-tolerance", Quoted(*value),
                        "nothing with --mode perturbation");
    }
  }
  if (const auto* fit = std::get_if<FitSource>(&options.source)) {
    INFLUENCE_RETURN_IF_ERROR(
        ResolveQueryFunction(options.query_function, fit->loss).status());
    if (arguments.Has("--score-tolerance")) {
      INFLUENCE_RETURN_IF_ERROR(CheckScoreTolerance(
          fit->method.method, *arguments.Value("--score-tolerance")));
    }
  }
  if (const auto* fit = std::get_if<FitSource>(&options.source);
      fit != nullptr && options.shard.has_value() &&
      fit->method.method != Method::kIdentity) {
    return UsageError("--shard", Quoted(*arguments.Value("--shard")),
                      absl::StrCat("--fitted beside it: each shard would fit ",
                                   MethodName(fit->method.method),
                                   " anew (influence fit does it once)"));
  }
  options.by_block = arguments.Flag("--by-block");
  if (options.by_block && absl::EndsWith(options.out, ".npy")) {
    return UsageError("--by-block", Quoted(options.out),
                      "a path ending in .zarr for --out: a .npy file holds one "
                      "array");
  }
  INFLUENCE_RETURN_IF_ERROR(ParseTopK(arguments, options));
  INFLUENCE_RETURN_IF_ERROR(ParseMemoryLimit(arguments, options));
  INFLUENCE_RETURN_IF_ERROR(ParseRunOptions(arguments, options));
  return options;
}

absl::StatusOr<CommandLine> ParseFactors(absl::Span<const std::string> words) {
  Arguments arguments("factors", kFactorsDescription, kFactorsExample);
  AddFittedOption(arguments);
  AddTestOption(arguments);
  AddModelOverride(arguments);
  AddOutputOptions(arguments, "The .zarr directory or .npy file to write");
  AddShardOption(arguments);
  AddQueryFunctionOption(arguments);
  AddMemoryLimitOption(arguments);
  AddRunOptions(arguments);
  INFLUENCE_ASSIGN_OR_RETURN(std::optional<std::string> help,
                             arguments.Parse(words));
  if (help.has_value()) return TextRequest{*std::move(help)};
  FactorsOptions options;
  INFLUENCE_RETURN_IF_ERROR(ParseFittedSource(arguments, options.source));
  INFLUENCE_ASSIGN_OR_RETURN(options.test,
                             arguments.Required("--test", kDataPath));
  INFLUENCE_RETURN_IF_ERROR(ParseArrayOutput(arguments, options));
  INFLUENCE_RETURN_IF_ERROR(
      ParseQueryFunction(arguments, options.query_function));
  INFLUENCE_RETURN_IF_ERROR(ParseMemoryLimit(arguments, options));
  INFLUENCE_RETURN_IF_ERROR(ParseRunOptions(arguments, options));
  return options;
}

absl::StatusOr<CommandLine> ParseSelf(absl::Span<const std::string> words) {
  Arguments arguments("self", kSelfDescription, kSelfExample);
  AddFittedOption(arguments);
  arguments.AddOption("--train", "DATA",
                      "Training data: .npz file, or folder of .npy files");
  AddModelOverride(arguments);
  AddOutputOptions(arguments, "The .zarr directory or .npy file to write");
  AddShardOption(arguments);
  AddUnitsOption(arguments);
  AddQueryFunctionOption(arguments);
  AddMemoryLimitOption(arguments);
  AddRunOptions(arguments);
  INFLUENCE_ASSIGN_OR_RETURN(std::optional<std::string> help,
                             arguments.Parse(words));
  if (help.has_value()) return TextRequest{*std::move(help)};
  SelfOptions options;
  INFLUENCE_RETURN_IF_ERROR(ParseFittedSource(arguments, options.source));
  INFLUENCE_ASSIGN_OR_RETURN(options.train,
                             arguments.Required("--train", kDataPath));
  INFLUENCE_RETURN_IF_ERROR(ParseArrayOutput(arguments, options));
  INFLUENCE_RETURN_IF_ERROR(ParseUnits(arguments, options.units));
  INFLUENCE_RETURN_IF_ERROR(
      ParseQueryFunction(arguments, options.query_function));
  INFLUENCE_RETURN_IF_ERROR(ParseMemoryLimit(arguments, options));
  INFLUENCE_RETURN_IF_ERROR(ParseRunOptions(arguments, options));
  return options;
}

absl::StatusOr<CommandLine> ParseSpectrum(absl::Span<const std::string> words) {
  constexpr char kExpected[] = "numbers >= 0, VALUE,...";
  Arguments arguments("spectrum", kSpectrumDescription, kSpectrumExample);
  AddFittedOption(arguments);
  AddModelOverride(arguments);
  AddTestOption(arguments);
  arguments.AddOption("--regularizations", "LIST",
                      "Values of lambda to compare, separated by commas");
  AddQueryFunctionOption(arguments);
  AddRunOptions(arguments);
  INFLUENCE_ASSIGN_OR_RETURN(std::optional<std::string> help,
                             arguments.Parse(words));
  if (help.has_value()) return TextRequest{*std::move(help)};
  SpectrumOptions options;
  INFLUENCE_RETURN_IF_ERROR(ParseFittedSource(arguments, options.source));
  options.test = arguments.Value("--test").value_or("");
  if (const auto list = arguments.Value("--regularizations")) {
    for (const absl::string_view text : absl::StrSplit(*list, ',')) {
      INFLUENCE_ASSIGN_OR_RETURN(
          const double value,
          ParseNumber("--regularizations", text, 0,
                      std::numeric_limits<double>::infinity(), kExpected));
      options.regularizations.push_back(value);
    }
  }
  if (!options.test.empty() && options.regularizations.size() < 2) {
    return UsageError("--regularizations",
                      options.regularizations.empty() ? "nothing" : "one value",
                      "two or more beside --test, to compare its scores with");
  }
  if (arguments.Has("--query-function") && options.test.empty()) {
    return UsageError("--query-function",
                      Quoted(*arguments.Value("--query-function")),
                      "nothing without --test");
  }
  INFLUENCE_RETURN_IF_ERROR(
      ParseQueryFunction(arguments, options.query_function));
  INFLUENCE_RETURN_IF_ERROR(ParseRunOptions(arguments, options));
  return options;
}

// Where top and report read from.
absl::Status ParseScoresInput(const Arguments& arguments, std::string& scores) {
  constexpr char kExpected[] = "a path ending in .zarr";
  INFLUENCE_ASSIGN_OR_RETURN(scores, arguments.Required("--scores", kExpected));
  while (absl::EndsWith(scores, ".zarr/")) scores.pop_back();
  if (absl::EndsWith(scores, ".zarr")) return absl::OkStatus();
  return UsageError(
      "--scores", Quoted(scores),
      absl::StrCat(kExpected, absl::EndsWith(scores, ".npy")
                                  ? " (a .npy file does not say what its "
                                    "scores are of, nor which sign helps)"
                                  : ""));
}

void AddScoresInput(Arguments& arguments) {
  arguments.AddOption("--scores", "PATH",
                      "What influence scores has made (.zarr)");
}

void AddQuiet(Arguments& arguments) {
  arguments.AddFlag("--quiet", "Print errors only on standard error");
}

absl::StatusOr<CommandLine> ParseTop(absl::Span<const std::string> words) {
  Arguments arguments("top", kTopDescription, kTopExample);
  AddScoresInput(arguments);
  arguments.AddOption("--k", "K",
                      "Samples of either kind for each query (default 10, or "
                      "all there are)");
  AddQuiet(arguments);
  arguments.AddFlag("--json", "Print JSON on standard output");
  INFLUENCE_ASSIGN_OR_RETURN(std::optional<std::string> help,
                             arguments.Parse(words));
  if (help.has_value()) return TextRequest{*std::move(help)};
  TopOptions options;
  INFLUENCE_RETURN_IF_ERROR(ParseScoresInput(arguments, options.scores));
  INFLUENCE_RETURN_IF_ERROR(ParseCount(arguments, "--k", options.k));
  options.quiet = arguments.Flag("--quiet");
  options.json = arguments.Flag("--json");
  return options;
}

absl::StatusOr<CommandLine> ParseReport(absl::Span<const std::string> words) {
  constexpr char kExpected[] = "a path ending in .html";
  Arguments arguments("report", kReportDescription, kReportExample);
  AddScoresInput(arguments);
  arguments.AddOption("--train", "DATA", "The training data of the scores");
  arguments.AddOption("--test", "DATA", "The query data of the scores");
  arguments.AddOption("--out", "PATH", "The .html file to write");
  arguments.AddFlag("--overwrite", "Replace --out if it exists");
  arguments.AddOption("--queries", "N",
                      "Queries on the page, from the first on (default 20, or "
                      "all there are)");
  arguments.AddOption("--k", "K",
                      "Samples of either kind for each query (default 8, or "
                      "all there are)");
  AddQuiet(arguments);
  INFLUENCE_ASSIGN_OR_RETURN(std::optional<std::string> help,
                             arguments.Parse(words));
  if (help.has_value()) return TextRequest{*std::move(help)};
  ReportOptions options;
  INFLUENCE_RETURN_IF_ERROR(ParseScoresInput(arguments, options.scores));
  INFLUENCE_ASSIGN_OR_RETURN(options.train,
                             arguments.Required("--train", kDataPath));
  INFLUENCE_ASSIGN_OR_RETURN(options.test,
                             arguments.Required("--test", kDataPath));
  INFLUENCE_ASSIGN_OR_RETURN(options.out,
                             arguments.Required("--out", kExpected));
  if (!absl::EndsWith(options.out, ".html")) {
    return UsageError("--out", Quoted(options.out), kExpected);
  }
  options.overwrite = arguments.Flag("--overwrite");
  std::optional<int64_t> num_queries;
  INFLUENCE_RETURN_IF_ERROR(ParseCount(arguments, "--queries", num_queries));
  options.num_queries = num_queries.value_or(options.num_queries);
  INFLUENCE_RETURN_IF_ERROR(ParseCount(arguments, "--k", options.k));
  options.quiet = arguments.Flag("--quiet");
  return options;
}

}  // namespace

absl::string_view UnitsName(Units units) {
  return units == Units::kRaw ? "raw" : "loss_change";
}

absl::StatusOr<PerSampleFunction> ResolveQueryFunction(
    absl::string_view name, const PerSampleFunction& loss) {
  absl::StatusOr<PerSampleFunction> function = QueryFunctionByName(name, loss);
  if (function.ok()) return function;
  return UsageError("--query-function",
                    absl::StrCat(Quoted(name), " with --loss ", loss.name()),
                    "loss");
}

absl::StatusOr<CommandLine> ParseCommandLine(
    absl::Span<const std::string> arguments) {
  constexpr absl::string_view kExpected =
      "inspect, fit, scores, factors, self, spectrum, top or report (influence "
      "--help explains them)";
  if (arguments.empty()) return UsageError("command", "nothing", kExpected);
  const std::string& command = arguments[0];
  const absl::Span<const std::string> rest = arguments.subspan(1);
  if (command == "--help" || command == "-h" || command == "help") {
    return TextRequest{std::string(kOverview)};
  }
  if (command == "--version") {
    return TextRequest{absl::StrCat(VersionText(), "\n")};
  }
  if (command == "inspect") return ParseInspect(rest);
  if (command == "fit") return ParseFit(rest);
  if (command == "scores") return ParseScores(rest);
  if (command == "factors") return ParseFactors(rest);
  if (command == "self") return ParseSelf(rest);
  if (command == "spectrum") return ParseSpectrum(rest);
  if (command == "top") return ParseTop(rest);
  if (command == "report") return ParseReport(rest);
  return UsageError("command", Quoted(command), kExpected);
}

}  // namespace influence
