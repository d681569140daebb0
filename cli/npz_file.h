// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// NumPy `.npz` archives, as numpy.savez and numpy.savez_compressed write them:
// a zip file whose members are `.npy` files, stored or deflated.
//
// No input can crash this class or make it fill the memory: nothing is
// allocated that the archive's directory, the array's own header and the
// caller's limit do not agree on.
#ifndef INFLUENCE_CLI_NPZ_FILE_H_
#define INFLUENCE_CLI_NPZ_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace influence {

// An open archive. Movable. Not thread-safe: one reading position is shared.
class NpzFile {
 public:
  // Reads the directory only. kNotFound if there is no such file,
  // kPermissionDenied if it may not be opened, kInvalidArgument if it is not a
  // regular file or not a zip archive, or if a member appears twice or its name
  // does not end in ".npy".
  static absl::StatusOr<NpzFile> Open(const std::string& path);
  NpzFile(NpzFile&&) noexcept;
  NpzFile& operator=(NpzFile&&) noexcept;
  ~NpzFile();

  const std::string& path() const;

  // The arrays' names in the order of the archive, without ".npy".
  const std::vector<std::string>& names() const;

  // The whole array, decoded as in calculators/npy_format.h, its checksum
  // verified. kNotFound if there is no such name; kResourceExhausted, before
  // anything is allocated, if the tensor takes more than `max_bytes`;
  // kInvalidArgument if the member is encrypted, damaged, of another
  // compression method or dtype, or declares a size that its header or its
  // compressed size contradicts.
  absl::StatusOr<at::Tensor> Read(absl::string_view array_name,
                                  int64_t max_bytes);

 private:
  class Archive;
  explicit NpzFile(std::unique_ptr<Archive> archive);

  std::unique_ptr<Archive> archive_;  // Null only after a move.
};

}  // namespace influence

#endif  // INFLUENCE_CLI_NPZ_FILE_H_
