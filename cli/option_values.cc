// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/option_values.h"

#include <cmath>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "cli/usage_error.h"

namespace influence {

std::string Quoted(absl::string_view text) {
  return absl::StrCat("'", text, "'");
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

absl::StatusOr<double> ParseNumber(absl::string_view option,
                                   absl::string_view text, double least,
                                   double most, absl::string_view expected) {
  double value = 0;
  if (!absl::SimpleAtod(text, &value) || !std::isfinite(value) ||
      value < least || value >= most) {
    return UsageError(option, Quoted(text), expected);
  }
  return value;
}

}  // namespace influence
