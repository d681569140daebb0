// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/byte_text.h"

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "cli/option_values.h"
#include "cli/usage_error.h"

namespace influence {
namespace {

// More than any machine has; beyond, sums of bytes would overflow.
constexpr double kMostBytes = 1e17;

constexpr std::pair<absl::string_view, double> kUnits[] = {
    {"KiB", 1024.0},
    {"MiB", 1024.0 * 1024},
    {"GiB", 1024.0 * 1024 * 1024},
    {"TiB", 1024.0 * 1024 * 1024 * 1024},
    {"kB", 1e3},
    {"MB", 1e6},
    {"GB", 1e9},
    {"TB", 1e12},
};

}  // namespace

std::string BytesText(double bytes) {
  if (bytes < 1024) return absl::StrFormat("%.0f bytes", bytes);
  const char* unit = "KiB";
  bytes /= 1024;
  for (const char* next : {"MiB", "GiB", "TiB"}) {
    if (bytes < 1024) break;
    bytes /= 1024;
    unit = next;
  }
  return absl::StrFormat("%.3g %s", bytes, unit);
}

absl::StatusOr<int64_t> ParseBytes(absl::string_view option,
                                   absl::string_view text) {
  absl::string_view number = text;
  double factor = 1;
  for (const auto& [unit, bytes] : kUnits) {
    if (!absl::ConsumeSuffix(&number, unit)) continue;
    factor = bytes;
    break;
  }
  double value = 0;
  if (!absl::SimpleAtod(absl::StripAsciiWhitespace(number), &value) ||
      !std::isfinite(value) || value * factor < 1 ||
      value * factor > kMostBytes) {
    return UsageError(option, Quoted(text),
                      "a number of bytes > 0, as 4GiB or 800MB");
  }
  return static_cast<int64_t>(value * factor);
}

}  // namespace influence
