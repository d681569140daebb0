// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/usage_error.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace influence {
namespace {

constexpr absl::string_view kUsageUrl = "influence/usage_error";

absl::Status Marked(absl::string_view message) {
  absl::Status status = absl::InvalidArgumentError(message);
  status.SetPayload(kUsageUrl, absl::Cord());
  return status;
}

}  // namespace

absl::Status UsageError(absl::string_view what, absl::string_view found,
                        absl::string_view expected) {
  return Marked(absl::StrCat(what, ": found ", found, ", expected ", expected));
}

absl::Status AsUsageError(absl::string_view what, const absl::Status& status) {
  // The library calls the value of "--name" "name".
  absl::string_view argument = absl::StripPrefix(what, "--");
  return Marked(absl::StrCat(
      what, ": ",
      absl::StripPrefix(status.message(), absl::StrCat(argument, ": "))));
}

bool IsUsageError(const absl::Status& status) {
  return status.GetPayload(kUsageUrl).has_value();
}

int ExitCode(const absl::Status& status) {
  if (status.ok()) return kExitSuccess;
  return IsUsageError(status) ? kExitUsage : kExitFailure;
}

std::string ErrorLine(const absl::Status& status) {
  std::string line = absl::StrCat("influence: error: ", status.message());
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  }
  return line;
}

}  // namespace influence
