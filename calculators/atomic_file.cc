// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace influence {
namespace {

constexpr absl::string_view kTemporaryMark = ".incomplete.";

}  // namespace

absl::Status ErrnoStatus(int error, absl::string_view path,
                         absl::string_view expected) {
  return absl::Status(
      absl::ErrnoToStatusCode(error),
      absl::StrCat(path, ": found \"", std::generic_category().message(error),
                   "\", expected ", expected));
}

std::string ParentFolder(absl::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == absl::string_view::npos) return ".";
  return slash == 0 ? "/" : std::string(path.substr(0, slash));
}

std::string BaseName(absl::string_view path) {
  const size_t slash = path.rfind('/');
  return std::string(slash == absl::string_view::npos ? path
                                                      : path.substr(slash + 1));
}

std::string TemporaryPath(const std::string& path) {
  static std::atomic<uint64_t> counter = 0;
  const std::string folder = ParentFolder(path);
  return absl::StrCat(folder == "/" ? "" : folder, "/.", BaseName(path),
                      kTemporaryMark, getpid(), ".", ++counter);
}

bool IsTemporaryName(absl::string_view name) {
  return absl::StartsWith(name, ".") && absl::StrContains(name, kTemporaryMark);
}

absl::StatusOr<int> OpenTemporaryFile(const std::string& path,
                                      std::string& temporary_path) {
  // Others may run on the same folder from other machines: a few attempts.
  for (int attempt = 0; attempt < 100; ++attempt) {
    temporary_path = TemporaryPath(path);
    const int descriptor = open(temporary_path.c_str(),
                                O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor >= 0) return descriptor;
    if (errno == EINTR || errno == EEXIST) continue;
    return ErrnoStatus(errno, path,
                       absl::StrCat("a writable folder ", ParentFolder(path)));
  }
  return absl::UnavailableError(
      absl::StrCat(path, ": found no free name for a temporary file in ",
                   ParentFolder(path)));
}

absl::Status WriteAt(int descriptor, absl::string_view bytes, int64_t offset,
                     absl::string_view path) {
  while (!bytes.empty()) {
    const ssize_t written =
        pwrite(descriptor, bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      return ErrnoStatus(written == 0 ? ENOSPC : errno, path,
                         absl::StrCat("to write ", bytes.size(), " bytes"));
    }
    bytes.remove_prefix(written);
    offset += written;
  }
  return absl::OkStatus();
}

void SyncFolder(const std::string& folder) {
  const int descriptor =
      open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  fsync(descriptor);
  close(descriptor);
}

absl::Status Rename(const std::string& from, const std::string& to,
                    bool replace) {
  int result = 0;
  if (replace) {
    result = rename(from.c_str(), to.c_str());
  } else {
    result = renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(),
                       RENAME_NOREPLACE);
    if (result != 0 && (errno == EINVAL || errno == ENOSYS)) {
      // This file system cannot tell: look first.
      struct stat status;
      if (lstat(to.c_str(), &status) == 0) {
        errno = EEXIST;
      } else {
        result = rename(from.c_str(), to.c_str());
      }
    }
  }
  if (result == 0) return absl::OkStatus();
  return ErrnoStatus(errno, to, "to be given its name");
}

absl::Status WriteFileAtomically(const std::string& path,
                                 absl::string_view bytes, bool replace) {
  std::string temporary_path;
  INFLUENCE_ASSIGN_OR_RETURN(const int descriptor,
                             OpenTemporaryFile(path, temporary_path));
  auto remove = absl::MakeCleanup([&] { unlink(temporary_path.c_str()); });
  absl::Status status = WriteAt(descriptor, bytes, 0, path);
  if (status.ok() && fsync(descriptor) != 0) {
    status = ErrnoStatus(errno, path, "to bring it to the disk");
  }
  if (close(descriptor) != 0 && status.ok()) {
    status = ErrnoStatus(errno, path, "to bring it to the disk");
  }
  INFLUENCE_RETURN_IF_ERROR(status);
  INFLUENCE_RETURN_IF_ERROR(Rename(temporary_path, path, replace));
  std::move(remove).Cancel();
  SyncFolder(ParentFolder(path));
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     int64_t max_bytes) {
  // Without O_NONBLOCK, opening a pipe would wait for a writer.
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return ErrnoStatus(errno, path, "a readable file");
  const auto close_it = absl::MakeCleanup([&] { close(descriptor); });
  struct stat status;
  if (fstat(descriptor, &status) != 0) {
    return ErrnoStatus(errno, path, "a readable file");
  }
  if (!S_ISREG(status.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": found ",
        S_ISDIR(status.st_mode) ? "a folder" : "a device, pipe or socket",
        ", expected a file"));
  }
  if (status.st_size > max_bytes) {
    return absl::DataLossError(absl::StrCat(path, ": found ", status.st_size,
                                            " bytes, expected at most ",
                                            max_bytes));
  }
  std::string bytes(status.st_size, '\0');
  size_t size = 0;
  while (size < bytes.size()) {
    const ssize_t got = pread(descriptor, &bytes[size], bytes.size() - size,
                              static_cast<off_t>(size));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus(errno, path, "a readable file");
    if (got == 0) break;
    size += got;
  }
  bytes.resize(size);
  return bytes;
}

}  // namespace influence
