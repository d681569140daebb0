// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/method_options.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "cli/option_values.h"
#include "cli/usage_error.h"
#include "gradients/parameter_blocks.h"
#include "influence/regularization.h"
#include "operators/curvature.h"

namespace influence {
namespace {

constexpr Method kMethods[] = {
    Method::kIdentity, Method::kDirect,  Method::kCg,
    Method::kLissa,    Method::kArnoldi, Method::kNystroem,
    Method::kKfac,     Method::kEkfac,   Method::kInverseHarmonicMean,
};

struct MethodDefault {
  Method method;
  absl::string_view value;
};

struct Row {
  absl::string_view name;
  absl::string_view value;
  absl::string_view help;
  std::vector<MethodDefault> defaults;  // Of the methods that have it.
};

const std::vector<Row>& Table() {
  static const auto* const table = new std::vector<Row>{
      {"--regularization",
       "VALUE",
       "lambda >= 0 added to the curvature: a number, BLOCK=VALUE,... or auto, "
       "a tenth of the mean squared gradient entry of each block",
       {{Method::kDirect, "auto"},
        {Method::kCg, "auto"},
        {Method::kLissa, "auto"},
        {Method::kArnoldi, "auto"},
        {Method::kNystroem, "auto"},
        {Method::kKfac, "auto"},
        {Method::kEkfac, "auto"},
        {Method::kInverseHarmonicMean, "auto"}}},
      {"--block-structure",
       "NAME",
       "Curvature is kept within blocks: full, layer or parameter; kfac and "
       "ekfac have a block a layer, always",
       {{Method::kIdentity, "full"},
        {Method::kDirect, "full"},
        {Method::kCg, "full"},
        {Method::kLissa, "full"},
        {Method::kArnoldi, "full"},
        {Method::kNystroem, "full"},
        {Method::kInverseHarmonicMean, "full"}}},
      {"--second-order",
       "NAME",
       "The curvature: hessian, gauss_newton or generalized_gauss_newton",
       {{Method::kDirect, "hessian"},
        {Method::kCg, "generalized_gauss_newton"},
        {Method::kLissa, "generalized_gauss_newton"},
        {Method::kArnoldi, "hessian"},
        {Method::kNystroem, "generalized_gauss_newton"}}},
      {"--tolerance",
       "X",
       "Of the residual, relative to the right-hand side",
       {{Method::kCg, "1e-05"}, {Method::kLissa, "1e-04"}}},
      {"--max-iterations",
       "N",
       "At most so many iterations",
       {{Method::kCg, "1000"}, {Method::kLissa, "1000"}}},
      {"--preconditioner",
       "NAME",
       "none, jacobi or nystroem",
       {{Method::kCg, "none"}}},
      {"--rank",
       "N",
       "Of the low-rank form; with cg, of --preconditioner nystroem",
       {{Method::kCg, "20"},
        {Method::kArnoldi, "10"},
        {Method::kNystroem, "10"}}},
      {"--low-rank-inverse",
       "NAME",
       "exact: of the low-rank form plus lambda, which must not be 0; or "
       "projected on the eigenvectors",
       {{Method::kArnoldi, "exact"}, {Method::kNystroem, "exact"}}},
      {"--scale",
       "X",
       "Divides the curvature, > 0; auto finds it",
       {{Method::kLissa, "auto"}}},
      {"--dampen", "X", "In [0, 1)", {{Method::kLissa, "0"}}},
      {"--fisher",
       "NAME",
       "Labels of the Fisher matrix: empirical (as given), exact (expectation "
       "over the model's own) or sampled (drawn from the model)",
       {{Method::kKfac, "empirical"}, {Method::kEkfac, "empirical"}}},
      {"--uncovered",
       "NAME",
       "Parameters outside Linear and Conv layers: diagonal of the same "
       "Fisher, drop or error",
       {{Method::kKfac, "diagonal"}, {Method::kEkfac, "diagonal"}}},
      {"--max-factor-size",
       "N",
       "Layers with more than N inputs or outputs are treated as --uncovered "
       "says, instead of matrices [N, N]; 0 for no limit",
       {{Method::kKfac, "0"}, {Method::kEkfac, "0"}}},
  };
  return *table;
}

const Row* FindRow(absl::string_view name) {
  for (const Row& row : Table()) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

// "direct, arnoldi: hessian; cg: none", the methods grouped by their default.
std::string DefaultsText(const Row& row) {
  std::vector<std::pair<absl::string_view, std::vector<absl::string_view>>>
      groups;
  for (const MethodDefault& entry : row.defaults) {
    size_t g = 0;
    while (g < groups.size() && groups[g].first != entry.value) ++g;
    if (g == groups.size()) groups.push_back({entry.value, {}});
    groups[g].second.push_back(MethodName(entry.method));
  }
  std::vector<std::string> parts;
  parts.reserve(groups.size());
  for (const auto& [value, methods] : groups) {
    parts.push_back(absl::StrCat(absl::StrJoin(methods, ", "), ": ", value));
  }
  return absl::StrJoin(parts, "; ");
}

std::string OptionsOf(Method method) {
  std::vector<absl::string_view> names;
  for (const Row& row : Table()) {
    if (HasOption(method, row.name)) names.push_back(row.name);
  }
  return absl::StrJoin(names, ", ");
}

absl::Status Refuse(Method method, absl::string_view name,
                    absl::string_view value) {
  return UsageError(name, Quoted(value),
                    absl::StrCat("nothing with --method ", MethodName(method),
                                 ", which has ", OptionsOf(method)));
}

// Methods whose inverse divides by lambda.
bool NeedsRegularization(const MethodOptions& options) {
  switch (options.method) {
    case Method::kInverseHarmonicMean:
      return true;
    case Method::kArnoldi:
    case Method::kNystroem:
      return options.low_rank_inverse == "exact";
    default:
      return false;
  }
}

// Is one of the values that `text`, which parses, gives a zero?
bool HasZero(absl::string_view text) {
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    double value = 1;
    if (absl::SimpleAtod(part.substr(part.rfind('=') + 1), &value) &&
        value == 0) {
      return true;
    }
  }
  return false;
}

absl::Status ParseRegularization(const std::string& value,
                                 MethodOptions& options) {
  constexpr absl::string_view kOption = "--regularization";
  absl::StatusOr<Regularization> regularization = Regularization::Parse(value);
  if (!regularization.ok()) {
    return AsUsageError(kOption, regularization.status());
  }
  options.regularization = *std::move(regularization);
  if (NeedsRegularization(options) && HasZero(value)) {
    return UsageError(kOption, Quoted(value),
                      options.method == Method::kInverseHarmonicMean
                          ? "values > 0 with --method ihm"
                          : absl::StrCat("values > 0 with --method ",
                                         MethodName(options.method),
                                         ", or --low-rank-inverse projected"));
  }
  return absl::OkStatus();
}

// Sets what the option called `name` stands for.
absl::Status SetOption(const std::string& name, const std::string& value,
                       MethodOptions& options) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  const auto choose = [&](std::string& target,
                          const std::vector<absl::string_view>& names) {
    std::vector<std::pair<absl::string_view, std::string>> choices;
    choices.reserve(names.size());
    for (const absl::string_view choice : names) {
      choices.emplace_back(choice, choice);
    }
    return Choose(name, value, choices, target);
  };
  if (name == "--regularization") return ParseRegularization(value, options);
  if (name == "--block-structure") {
    return Choose<BlockStructure>(name, value,
                                  {{"full", BlockStructure::kFull},
                                   {"layer", BlockStructure::kLayer},
                                   {"parameter", BlockStructure::kParameter}},
                                  options.block_structure);
  }
  if (name == "--second-order") {
    return Choose<Curvature>(
        name, value,
        {{"hessian", Curvature::kHessian},
         {"gauss_newton", Curvature::kGaussNewton},
         {"generalized_gauss_newton", Curvature::kGeneralizedGaussNewton}},
        options.curvature);
  }
  if (name == "--tolerance") {
    INFLUENCE_ASSIGN_OR_RETURN(
        options.tolerance,
        ParseNumber(name, value, 0, kInfinity, "a number >= 0"));
    return absl::OkStatus();
  }
  if (name == "--max-iterations") {
    INFLUENCE_ASSIGN_OR_RETURN(
        options.max_iterations,
        ParseInteger(name, value, 1, kMost, "an integer >= 1"));
    return absl::OkStatus();
  }
  if (name == "--preconditioner") {
    return choose(options.preconditioner, {"none", "jacobi", "nystroem"});
  }
  if (name == "--rank") {
    INFLUENCE_ASSIGN_OR_RETURN(
        options.rank, ParseInteger(name, value, 1, kMost, "an integer >= 1"));
    return absl::OkStatus();
  }
  if (name == "--low-rank-inverse") {
    return choose(options.low_rank_inverse, {"exact", "projected"});
  }
  if (name == "--scale") {
    if (value == "auto") return absl::OkStatus();
    INFLUENCE_ASSIGN_OR_RETURN(
        options.scale,
        ParseNumber(name, value, std::numeric_limits<double>::denorm_min(),
                    kInfinity, "auto or a number > 0"));
    return absl::OkStatus();
  }
  if (name == "--dampen") {
    INFLUENCE_ASSIGN_OR_RETURN(
        options.dampen, ParseNumber(name, value, 0, 1, "a number in [0, 1)"));
    return absl::OkStatus();
  }
  if (name == "--fisher") {
    return choose(options.fisher, {"empirical", "exact", "sampled"});
  }
  if (name == "--max-factor-size") {
    INFLUENCE_ASSIGN_OR_RETURN(
        options.max_factor_size,
        ParseInteger(name, value, 0, kMost, "an integer >= 0"));
    return absl::OkStatus();
  }
  INFLUENCE_CHECK(name == "--uncovered");
  return choose(options.uncovered, {"diagonal", "drop", "error"});
}

}  // namespace

absl::string_view MethodName(Method method) {
  switch (method) {
    case Method::kIdentity:
      return "identity";
    case Method::kDirect:
      return "direct";
    case Method::kCg:
      return "cg";
    case Method::kLissa:
      return "lissa";
    case Method::kArnoldi:
      return "arnoldi";
    case Method::kNystroem:
      return "nystroem";
    case Method::kKfac:
      return "kfac";
    case Method::kEkfac:
      return "ekfac";
    case Method::kInverseHarmonicMean:
      return "ihm";
  }
  return "";
}

absl::Span<const Method> AllMethods() { return kMethods; }

std::vector<MethodOption> MethodOptionTable() {
  std::vector<MethodOption> options;
  for (const Row& row : Table()) {
    options.push_back({row.name, row.value,
                       absl::StrCat(row.help, " (", DefaultsText(row), ")")});
  }
  return options;
}

bool HasOption(Method method, absl::string_view name) {
  return DefaultOf(method, name).has_value();
}

std::optional<std::string> DefaultOf(Method method, absl::string_view name) {
  const Row* const row = FindRow(name);
  if (row == nullptr) return std::nullopt;
  for (const MethodDefault& entry : row->defaults) {
    if (entry.method == method) return std::string(entry.value);
  }
  return std::nullopt;
}

absl::StatusOr<MethodOptions> ParseMethodOptions(absl::string_view method,
                                                 OptionLookup given) {
  MethodOptions options;
  std::vector<std::pair<absl::string_view, Method>> choices;
  for (const Method known : kMethods) {
    choices.emplace_back(MethodName(known), known);
  }
  INFLUENCE_RETURN_IF_ERROR(
      Choose("--method", method, choices, options.method));
  if (options.method == Method::kKfac || options.method == Method::kEkfac) {
    options.block_structure = BlockStructure::kLayer;
  }
  std::map<std::string, std::string> values;
  for (const Row& row : Table()) {
    const std::string name(row.name);
    const std::optional<std::string> value = given(name);
    const std::optional<std::string> fallback = DefaultOf(options.method, name);
    if (value.has_value() && !fallback.has_value()) {
      return Refuse(options.method, name, *value);
    }
    if (fallback.has_value()) values[name] = value.value_or(*fallback);
  }
  // What may be a regularization depends on the kind of inverse.
  for (const std::string first : {"--low-rank-inverse", "--preconditioner"}) {
    if (values.contains(first)) {
      INFLUENCE_RETURN_IF_ERROR(SetOption(first, values[first], options));
    }
  }
  for (const auto& [name, value] : values) {
    INFLUENCE_RETURN_IF_ERROR(SetOption(name, value, options));
  }
  if (const std::optional<std::string> rank = given("--rank");
      options.method == Method::kCg && rank.has_value() &&
      options.preconditioner != "nystroem") {
    return UsageError("--rank", Quoted(*rank),
                      "nothing with --method cg unless --preconditioner is "
                      "nystroem");
  }
  if (options.method == Method::kCg && options.preconditioner != "nystroem") {
    values.erase("--rank");
  }
  for (const auto& [name, value] : values) {
    options.values[absl::StrReplaceAll(absl::StripPrefix(name, "--"),
                                       {{"-", "_"}})] = value;
  }
  return options;
}

absl::Status CheckScoreTolerance(Method method, absl::string_view value) {
  if (method == Method::kKfac || method == Method::kEkfac) {
    return absl::OkStatus();
  }
  return UsageError("--score-tolerance", Quoted(value),
                    absl::StrCat("nothing with --method ", MethodName(method),
                                 "; kfac and ekfac have it"));
}

}  // namespace influence
