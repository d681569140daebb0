// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Bytes of .npy files and of .npz archives for tests: right ones, and ones that
// are wrong in a way no zip program would write.
#ifndef INFLUENCE_CLI_NPZ_TESTING_H_
#define INFLUENCE_CLI_NPZ_TESTING_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/strings/string_view.h"

namespace influence {

// A .npy file of `values`, whose dtype must be one FormatNpyHeader() takes.
std::string NpyBytes(const at::Tensor& values);

// A .npy file (version 1) of any dtype, shape and values, right or wrong:
// NpyBytes("<u2", "(2,)", values).
std::string NpyBytes(absl::string_view descr, absl::string_view shape,
                     absl::string_view values);

// One member of a zip archive.
struct ZipMember {
  std::string name;      // With ".npy".
  std::string contents;  // Before compression.
  bool deflated = false;
  bool encrypted = false;  // Only says so.
  // In the local header and in the directory, in place of the right ones.
  std::optional<uint32_t> declared_size = std::nullopt;
  std::optional<uint32_t> declared_checksum = std::nullopt;
  std::optional<uint16_t> declared_method = std::nullopt;
};

// A zip archive of these members, in this order; names may repeat.
std::string ZipBytes(const std::vector<ZipMember>& members);

}  // namespace influence

#endif  // INFLUENCE_CLI_NPZ_TESTING_H_
