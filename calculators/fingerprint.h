// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Fingerprints tell whether a model or a data set is the one that a result was
// computed from: SHA-256 of the contents, 64 lower-case hexadecimal digits.
// That of a file is what `sha256sum` prints.
//
// Speed: reads at the disk's rate or hashes 2 GB/s on a processor with SHA
// instructions, 0.7 GB/s without, on one thread and in constant memory.
#ifndef INFLUENCE_CALCULATORS_FINGERPRINT_H_
#define INFLUENCE_CALCULATORS_FINGERPRINT_H_

#include <memory>
#include <string>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace influence {

// Hashes bytes that come piece by piece. Not thread-safe.
class Fingerprinter {
 public:
  Fingerprinter();
  ~Fingerprinter();
  Fingerprinter(const Fingerprinter&) = delete;
  Fingerprinter& operator=(const Fingerprinter&) = delete;

  void Add(absl::string_view bytes);

  // The fingerprint of what was added so far. Once.
  std::string Finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// Of the bytes themselves.
std::string FingerprintOfText(absl::string_view text);

// Of a file's contents; its name and times do not matter. kNotFound,
// kPermissionDenied or the like, naming the file, if it cannot be read.
absl::StatusOr<std::string> FingerprintOfFile(const std::string& path);

// Of the contents and names, relative to the folder, of all files in it and in
// folders below it, in the order of their names. Hidden files (.DS_Store) are
// left out.
absl::StatusOr<std::string> FingerprintOfFolder(const std::string& path);

// Of a file or a folder, whichever `path` is.
absl::StatusOr<std::string> FingerprintOfPath(const std::string& path);

// Of dtype, shape and values, wherever and however strided they are stored.
// NaN, and zeros of different sign, count by their bits. kInvalidArgument if
// the tensor is undefined.
absl::StatusOr<std::string> FingerprintOfTensor(const at::Tensor& tensor);

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_FINGERPRINT_H_
