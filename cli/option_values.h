// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The values of options as typed, turned into what they mean. Every failure is
// a usage error that names the option, what was found and what was expected.
#ifndef INFLUENCE_CLI_OPTION_VALUES_H_
#define INFLUENCE_CLI_OPTION_VALUES_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "cli/usage_error.h"

namespace influence {

// "'text'"
std::string Quoted(absl::string_view text);

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

// An integer in [least, most].
absl::StatusOr<int64_t> ParseInteger(absl::string_view option,
                                     absl::string_view text, int64_t least,
                                     int64_t most, absl::string_view expected);

// A finite number in [least, most).
absl::StatusOr<double> ParseNumber(absl::string_view option,
                                   absl::string_view text, double least,
                                   double most, absl::string_view expected);

}  // namespace influence

#endif  // INFLUENCE_CLI_OPTION_VALUES_H_
