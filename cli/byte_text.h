// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Numbers of bytes as people write them.
#ifndef INFLUENCE_CLI_BYTE_TEXT_H_
#define INFLUENCE_CLI_BYTE_TEXT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace influence {

// "512 bytes", "1.5 MiB": three digits, in powers of 1024.
std::string BytesText(double bytes);

// "4GiB", "1.5 GiB", "512MiB", "800MB", "1e9": a number > 0 and KiB, MiB, GiB,
// TiB, their decimal counterparts kB, MB, GB, TB, or nothing. A usage error
// that names `option` for another text.
absl::StatusOr<int64_t> ParseBytes(absl::string_view option,
                                   absl::string_view text);

}  // namespace influence

#endif  // INFLUENCE_CLI_BYTE_TEXT_H_
