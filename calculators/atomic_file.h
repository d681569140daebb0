// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Files that appear whole or not at all: the bytes go into a temporary file
// beside the target, are brought to the disk, and get their name in one step.
// What a crash leaves is a temporary file, which nothing takes for the target.
//
// Every error reads "<path>: found "<what the system says>", expected
// <what was tried>"; a full disk is kResourceExhausted, a missing file
// kNotFound, a forbidden one kPermissionDenied. All functions are thread-safe.
#ifndef INFLUENCE_CALCULATORS_ATOMIC_FILE_H_
#define INFLUENCE_CALCULATORS_ATOMIC_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace influence {

// The status of `error`, an errno.
absl::Status ErrnoStatus(int error, absl::string_view path,
                         absl::string_view expected);

// What is before the last slash; "." or "/" where that is nothing.
std::string ParentFolder(absl::string_view path);

// What is behind the last slash.
std::string BaseName(absl::string_view path);

// Opens a new file beside `path`, for reading and writing, with the permissions
// that a new file has, and sets `temporary_path` to its name, which
// IsTemporaryName() knows. The caller closes the descriptor.
absl::StatusOr<int> OpenTemporaryFile(const std::string& path,
                                      std::string& temporary_path);

// A path beside `path` that no other call returns, of such a name.
std::string TemporaryPath(const std::string& path);

// `name`, without a folder, begins with a dot and holds ".incomplete.".
bool IsTemporaryName(absl::string_view name);

// Writes all of `bytes` at `offset`. `path` is for messages.
absl::Status WriteAt(int descriptor, absl::string_view bytes, int64_t offset,
                     absl::string_view path);

// Brings names in `folder` to the disk; a file system that cannot is let be.
void SyncFolder(const std::string& folder);

// Gives `from` the name `to`, replacing a file of that name only if `replace`:
// kAlreadyExists otherwise. SyncFolder() is the caller's.
absl::Status Rename(const std::string& from, const std::string& to,
                    bool replace);

// Makes `bytes` the contents of `path`. A file that is there is replaced, or,
// without `replace`, is kAlreadyExists.
absl::Status WriteFileAtomically(const std::string& path,
                                 absl::string_view bytes, bool replace = true);

// All bytes of a regular file. kDataLoss, naming both sizes, if there are more
// than `max_bytes`; kInvalidArgument for a folder or a device.
absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     int64_t max_bytes);

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_ATOMIC_FILE_H_
