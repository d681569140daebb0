// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The methods of the command line and the options that each of them has. One
// table says which method has which option and what it is where not given;
// parsing, help and refusals all come from it.
#ifndef INFLUENCE_CLI_METHOD_OPTIONS_H_
#define INFLUENCE_CLI_METHOD_OPTIONS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "gradients/parameter_blocks.h"
#include "influence/regularization.h"
#include "operators/curvature.h"

namespace influence {

enum class Method {
  kIdentity,
  kDirect,
  kCg,
  kLissa,
  kArnoldi,
  kNystroem,
  kKfac,
  kEkfac,
  kInverseHarmonicMean,
};

// "identity", "direct", "cg", "lissa", "arnoldi", "nystroem", "kfac", "ekfac",
// "ihm".
absl::string_view MethodName(Method method);

absl::Span<const Method> AllMethods();

// Values are as given, or the default of the method. Those of options that the
// method does not have mean nothing.
struct MethodOptions {
  Method method = Method::kIdentity;
  BlockStructure block_structure = BlockStructure::kFull;
  Regularization regularization;
  Curvature curvature = Curvature::kHessian;
  double tolerance = 0;        // >= 0, relative to each right-hand side.
  int64_t max_iterations = 1;  // >= 1
  std::string preconditioner = "none";     // none, jacobi, nystroem
  int64_t rank = 1;                        // >= 1
  std::string low_rank_inverse = "exact";  // exact, projected
  std::optional<double> scale;             // > 0; found by the method if none.
  double dampen = 0;                       // In [0, 1).
  std::string fisher = "empirical";        // empirical, exact, sampled
  std::string uncovered = "diagonal";      // diagonal, drop, error
  int64_t max_factor_size = 0;             // >= 0; 0 for none.

  // All options that the method has, as the user would write them: by name
  // without dashes, {"second_order": "hessian", "rank": "10"}.
  std::map<std::string, std::string> values;
};

// One row of the table.
struct MethodOption {
  absl::string_view name;   // "--rank"
  absl::string_view value;  // What stands for its value in the help.
  std::string help;         // With the methods that have it and their defaults.
};

// In the order of the help.
std::vector<MethodOption> MethodOptionTable();

// Does `method` have the option called `name`, "--rank"?
bool HasOption(Method method, absl::string_view name);

// The value of `name` where not given, as the user would write it. Nothing if
// `method` does not have it.
std::optional<std::string> DefaultOf(Method method, absl::string_view name);

// The value of the option called `name` as typed, nothing where it was not.
using OptionLookup =
    absl::FunctionRef<std::optional<std::string>(const std::string& name)>;

// The method called `method` with its options out of `given`. A usage error,
// naming the option, for an unknown method, a value that is out of range, or an
// option that the method does not have or would ignore beside the others.
absl::StatusOr<MethodOptions> ParseMethodOptions(absl::string_view method,
                                                 OptionLookup given);

// A usage error unless `method` has --score-tolerance, an option of scores.
// `value`: as typed.
absl::Status CheckScoreTolerance(Method method, absl::string_view value);

}  // namespace influence

#endif  // INFLUENCE_CLI_METHOD_OPTIONS_H_
