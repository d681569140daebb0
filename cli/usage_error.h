// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Tells wrong usage, exit code 2, from every other failure, exit code 1.
#ifndef INFLUENCE_CLI_USAGE_ERROR_H_
#define INFLUENCE_CLI_USAGE_ERROR_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace influence {

inline constexpr int kExitSuccess = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;

// kInvalidArgument "<what>: found <found>, expected <expected>", marked as
// wrong usage. `what` is an option ("--method") or "command".
absl::Status UsageError(absl::string_view what, absl::string_view found,
                        absl::string_view expected);

// `status` with "--name: " before its message, in place of a "name: " that may
// be there, marked as wrong usage. For the library's refusal of a value that
// came from an option.
absl::Status AsUsageError(absl::string_view what, const absl::Status& status);

bool IsUsageError(const absl::Status& status);

// One of the three codes above.
int ExitCode(const absl::Status& status);

// "influence: error: <message>", one line without its end: what would break
// the line is replaced by a space.
std::string ErrorLine(const absl::Status& status);

}  // namespace influence

#endif  // INFLUENCE_CLI_USAGE_ERROR_H_
