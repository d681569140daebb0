// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

#include <algorithm>
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
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "cli/usage_error.h"
#include "cli/version.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "influence/influence_mode.h"
#include "influence/regularization.h"
#include "operators/curvature.h"

namespace influence {
namespace {

// More threads than any machine has; LibTorch would try to start them all.
constexpr int64_t kMaxThreads = 1024;

constexpr absl::string_view kOverview =
    R"(Which training samples made a model predict what it predicts.

Usage: influence COMMAND OPTIONS

Commands:
  inspect   what the tool sees in a model: parameters, blocks, fast path
  scores    influence of every training sample on every query sample

Example:
  influence inspect --model m.pt --train train.npz --loss cross_entropy
  influence scores  --model m.pt --train train.npz --test test.npz \
      --loss cross_entropy --method direct --regularization 1e-3 \
      --out scores.npy

Data are .npz files with arrays x (or x0, x1, ... for several inputs) and y, or
folders with x.npy and y.npy; the model is a TorchScript file.

influence COMMAND --help lists a command's options; influence --version prints
the version.
)";

constexpr absl::string_view kInspectDescription =
    "Prints the number of parameters P, the blocks, which layer rule serves "
    "each parameter, and whether per-sample gradients agree with autograd.";

constexpr absl::string_view kInspectExample =
    "Example:\n"
    "  influence inspect --model m.pt --train train.npz --loss cross_entropy\n";

constexpr absl::string_view kScoresDescription =
    "Computes the influence of every training sample (N) on every query sample "
    "(M) and writes it to a .npy file: [M, N], or [M, N, *shape of one x] with "
    "--mode perturbation.";

constexpr absl::string_view kScoresExample =
    "Example:\n"
    "  influence scores --model m.pt --train train.npz --test test.npz \\\n"
    "      --loss cross_entropy --method direct --regularization 1e-3 \\\n"
    "      --out scores.npy\n";

std::string Quoted(absl::string_view text) {
  return absl::StrCat("'", text, "'");
}

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

// Gives `value` to `target` if `name` is among `choices`.
template <typename T>
absl::Status Choose(absl::string_view option, absl::string_view name,
                    const std::vector<std::pair<absl::string_view, T>>& choices,
                    T& target) {
  std::vector<absl::string_view> names;
  for (const auto& [known, value] : choices) {
    if (known == name) {
      target = value;
      return absl::OkStatus();
    }
    names.push_back(known);
  }
  return UsageError(option, Quoted(name), absl::StrJoin(names, " or "));
}

absl::StatusOr<int64_t> ParseInteger(absl::string_view option,
                                     absl::string_view text, int64_t least,
                                     int64_t most, absl::string_view expected) {
  int64_t value = 0;
  if (!absl::SimpleAtoi(text, &value) || value < least || value > most) {
    return UsageError(option, Quoted(text), expected);
  }
  return value;
}

// Listed first in the help.
void AddInputOptions(Arguments& arguments, bool has_test) {
  arguments.AddOption("--model", "FILE", "TorchScript file of the model");
  arguments.AddOption("--train", "DATA",
                      "Training data: .npz file, or folder of .npy files");
  if (has_test) {
    arguments.AddOption("--test", "DATA",
                        "Query data: .npz file, or folder of .npy files");
  }
  arguments.AddOption("--loss", "NAME",
                      "Training loss: " + absl::StrJoin(LossNames(), ", "));
}

// Listed last.
void AddRunOptions(Arguments& arguments) {
  arguments.AddOption("--block-structure", "NAME",
                      "Curvature is kept within blocks: full (default), layer "
                      "or parameter");
  arguments.AddOption("--dtype", "NAME",
                      "Of model and floating inputs: float32 (default) or "
                      "float64");
  arguments.AddOption("--batch-size", "N",
                      "Samples a batch, or auto (default); results do not "
                      "depend on it");
  arguments.AddOption("--threads", "N",
                      "Threads to compute with (default: all cores)");
  arguments.AddOption("--seed", "N",
                      "Of random numbers (default 0); identity and direct draw "
                      "none");
  arguments.AddFlag("--quiet", "Print errors only on standard error");
  arguments.AddFlag("--json", "Print the result as JSON on standard output");
}

absl::Status ParseCommonOptions(const Arguments& arguments,
                                CommonOptions& options) {
  INFLUENCE_ASSIGN_OR_RETURN(
      options.model,
      arguments.Required("--model", "the path of a TorchScript file"));
  INFLUENCE_ASSIGN_OR_RETURN(
      options.train,
      arguments.Required("--train", "the path of an .npz file or a folder"));
  const std::string losses =
      absl::StrCat("one of ", absl::StrJoin(LossNames(), ", "));
  INFLUENCE_ASSIGN_OR_RETURN(const std::string loss,
                             arguments.Required("--loss", losses));
  absl::StatusOr<PerSampleFunction> function = LossByName(loss);
  if (!function.ok()) return UsageError("--loss", Quoted(loss), losses);
  options.loss = *std::move(function);
  if (const auto value = arguments.Value("--block-structure")) {
    INFLUENCE_RETURN_IF_ERROR(
        Choose<BlockStructure>("--block-structure", *value,
                               {{"full", BlockStructure::kFull},
                                {"layer", BlockStructure::kLayer},
                                {"parameter", BlockStructure::kParameter}},
                               options.block_structure));
  }
  if (const auto value = arguments.Value("--dtype")) {
    INFLUENCE_RETURN_IF_ERROR(Choose<at::ScalarType>(
        "--dtype", *value, {{"float32", at::kFloat}, {"float64", at::kDouble}},
        options.dtype));
  }
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
  if (const auto value = arguments.Value("--seed")) {
    INFLUENCE_ASSIGN_OR_RETURN(
        options.seed,
        ParseInteger("--seed", *value, 0, std::numeric_limits<int64_t>::max(),
                     "an integer >= 0"));
  }
  options.quiet = arguments.Flag("--quiet");
  options.json = arguments.Flag("--json");
  return absl::OkStatus();
}

absl::StatusOr<CommandLine> ParseInspect(absl::Span<const std::string> words) {
  Arguments arguments("inspect", kInspectDescription, kInspectExample);
  AddInputOptions(arguments, /*has_test=*/false);
  AddRunOptions(arguments);
  INFLUENCE_ASSIGN_OR_RETURN(std::optional<std::string> help,
                             arguments.Parse(words));
  if (help.has_value()) return TextRequest{*std::move(help)};
  InspectOptions options;
  INFLUENCE_RETURN_IF_ERROR(ParseCommonOptions(arguments, options));
  return options;
}

// What identity would have to ignore.
absl::Status RefuseForIdentity(const Arguments& arguments,
                               const std::string& option) {
  const std::optional<std::string> value = arguments.Value(option);
  if (!value.has_value()) return absl::OkStatus();
  return UsageError(option, Quoted(*value), "nothing with --method identity");
}

absl::StatusOr<CommandLine> ParseScores(absl::Span<const std::string> words) {
  Arguments arguments("scores", kScoresDescription, kScoresExample);
  AddInputOptions(arguments, /*has_test=*/true);
  arguments.AddOption("--out", "FILE", "The .npy file to write");
  arguments.AddOption("--method", "NAME",
                      "What stands for the inverse curvature: identity or "
                      "direct");
  arguments.AddOption("--regularization", "VALUE",
                      "lambda >= 0 added to the curvature: a number, auto "
                      "(default) or BLOCK=VALUE,...");
  arguments.AddOption("--second-order", "NAME",
                      "The curvature: hessian (default), gauss_newton or "
                      "generalized_gauss_newton");
  arguments.AddOption("--mode", "NAME", "up (default) or perturbation");
  arguments.AddOption("--units", "NAME",
                      "raw (default) or loss_change, the first-order change of "
                      "the query function");
  arguments.AddOption("--query-function", "NAME",
                      "What is explained of a query: loss (default), margin or "
                      "logit");
  arguments.AddFlag("--overwrite", "Replace --out if it exists");
  AddRunOptions(arguments);
  INFLUENCE_ASSIGN_OR_RETURN(std::optional<std::string> help,
                             arguments.Parse(words));
  if (help.has_value()) return TextRequest{*std::move(help)};

  ScoresOptions options;
  INFLUENCE_RETURN_IF_ERROR(ParseCommonOptions(arguments, options));
  INFLUENCE_ASSIGN_OR_RETURN(
      options.test,
      arguments.Required("--test", "the path of an .npz file or a folder"));
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::string method,
      arguments.Required("--method", "identity or direct"));
  INFLUENCE_RETURN_IF_ERROR(Choose<Method>(
      "--method", method,
      {{"identity", Method::kIdentity}, {"direct", Method::kDirect}},
      options.method));
  INFLUENCE_ASSIGN_OR_RETURN(
      options.out, arguments.Required("--out", "the path of a .npy file"));
  if (!absl::EndsWith(options.out, ".npy")) {
    return UsageError("--out", Quoted(options.out), "a path ending in .npy");
  }
  if (options.method == Method::kIdentity) {
    INFLUENCE_RETURN_IF_ERROR(RefuseForIdentity(arguments, "--regularization"));
    INFLUENCE_RETURN_IF_ERROR(RefuseForIdentity(arguments, "--second-order"));
  }
  if (const auto value = arguments.Value("--regularization")) {
    absl::StatusOr<Regularization> regularization =
        Regularization::Parse(*value);
    if (!regularization.ok()) {
      return AsUsageError("--regularization", regularization.status());
    }
    options.regularization = *std::move(regularization);
  }
  if (const auto value = arguments.Value("--second-order")) {
    INFLUENCE_RETURN_IF_ERROR(Choose<Curvature>(
        "--second-order", *value,
        {{"hessian", Curvature::kHessian},
         {"gauss_newton", Curvature::kGaussNewton},
         {"generalized_gauss_newton", Curvature::kGeneralizedGaussNewton}},
        options.curvature));
  }
  if (const auto value = arguments.Value("--mode")) {
    INFLUENCE_RETURN_IF_ERROR(
        Choose<InfluenceMode>("--mode", *value,
                              {{"up", InfluenceMode::kUp},
                               {"perturbation", InfluenceMode::kPerturbation}},
                              options.mode));
  }
  if (const auto value = arguments.Value("--units")) {
    INFLUENCE_RETURN_IF_ERROR(Choose<Units>(
        "--units", *value,
        {{"raw", Units::kRaw}, {"loss_change", Units::kLossChange}},
        options.units));
  }
  const std::string query =
      arguments.Value("--query-function").value_or("loss");
  std::string canonical;
  INFLUENCE_RETURN_IF_ERROR(Choose<std::string>(
      "--query-function", query,
      {{"loss", "loss"}, {"margin", "margin"}, {"logit", "logit"}}, canonical));
  absl::StatusOr<PerSampleFunction> query_function =
      QueryFunctionByName(canonical, options.loss);
  if (!query_function.ok()) {
    return UsageError(
        "--query-function",
        absl::StrCat(Quoted(query), " with --loss ", options.loss.name()),
        "loss");
  }
  options.query_function = *std::move(query_function);
  options.overwrite = arguments.Flag("--overwrite");
  return options;
}

}  // namespace

absl::string_view MethodName(Method method) {
  return method == Method::kIdentity ? "identity" : "direct";
}

absl::string_view UnitsName(Units units) {
  return units == Units::kRaw ? "raw" : "loss_change";
}

absl::StatusOr<CommandLine> ParseCommandLine(
    absl::Span<const std::string> arguments) {
  constexpr absl::string_view kExpected =
      "inspect or scores (influence --help explains them)";
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
  if (command == "scores") return ParseScores(rest);
  return UsageError("command", Quoted(command), kExpected);
}

}  // namespace influence
