// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/fingerprint.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "calculators/atomic_file.h"

namespace influence {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBufferBytes = size_t{1} << 20;

absl::Status Unreadable(const std::error_code& error, const std::string& path) {
  return ErrnoStatus(error.value(), path, "a readable folder");
}

}  // namespace

struct Fingerprinter::Context {
  EVP_MD_CTX* digest = nullptr;
};

// libcrypto fails here only if it has no memory, or is installed without
// SHA-256.
Fingerprinter::Fingerprinter() : context_(std::make_unique<Context>()) {
  context_->digest = EVP_MD_CTX_new();
  INFLUENCE_CHECK(context_->digest != nullptr);
  INFLUENCE_CHECK(EVP_DigestInit_ex(context_->digest, EVP_sha256(), nullptr) ==
                  1);
}

Fingerprinter::~Fingerprinter() { EVP_MD_CTX_free(context_->digest); }

void Fingerprinter::Add(absl::string_view bytes) {
  INFLUENCE_CHECK(
      EVP_DigestUpdate(context_->digest, bytes.data(), bytes.size()) == 1);
}

std::string Fingerprinter::Finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest = {};
  unsigned int size = 0;
  INFLUENCE_CHECK(EVP_DigestFinal_ex(context_->digest, digest.data(), &size) ==
                  1);
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest.data()), size));
}

std::string FingerprintOfText(absl::string_view text) {
  Fingerprinter fingerprinter;
  fingerprinter.Add(text);
  return fingerprinter.Finish();
}

absl::StatusOr<std::string> FingerprintOfFile(const std::string& path) {
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
  posix_fadvise(descriptor, 0, 0, POSIX_FADV_SEQUENTIAL);
  Fingerprinter fingerprinter;
  std::vector<char> buffer(kBufferBytes);
  while (true) {
    const ssize_t got = read(descriptor, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus(errno, path, "a readable file");
    if (got == 0) return fingerprinter.Finish();
    fingerprinter.Add(absl::string_view(buffer.data(), got));
  }
}

absl::StatusOr<std::string> FingerprintOfFolder(const std::string& path) {
  std::error_code error;
  std::vector<std::string> names;
  fs::recursive_directory_iterator entries(path, error);
  for (; !error && entries != fs::recursive_directory_iterator();
       entries.increment(error)) {
    if (absl::StartsWith(entries->path().filename().string(), ".")) {
      entries.disable_recursion_pending();
    } else if (!entries->is_directory(error)) {
      names.push_back(entries->path().lexically_relative(path).string());
    }
  }
  if (error) return Unreadable(error, path);
  std::sort(names.begin(), names.end());
  Fingerprinter fingerprinter;
  for (const std::string& name : names) {
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::string contents,
        FingerprintOfFile(absl::StrCat(path, "/", name)));
    // Of a fixed length, so that no two folders give the same bytes.
    fingerprinter.Add(FingerprintOfText(name));
    fingerprinter.Add(contents);
  }
  return fingerprinter.Finish();
}

absl::StatusOr<std::string> FingerprintOfPath(const std::string& path) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0) {
    return ErrnoStatus(errno, path, "a readable file or folder");
  }
  return S_ISDIR(status.st_mode) ? FingerprintOfFolder(path)
                                 : FingerprintOfFile(path);
}

absl::StatusOr<std::string> FingerprintOfTensor(const at::Tensor& tensor) {
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined("tensor", tensor));
  return CatchTorch("tensor", [&]() -> absl::StatusOr<std::string> {
    const at::Tensor values = tensor.detach().to(at::kCPU).contiguous();
    Fingerprinter fingerprinter;
    fingerprinter.Add(absl::StrCat(DtypeName(values.scalar_type()), " ",
                                   ShapeString(values), "\n"));
    fingerprinter.Add(
        absl::string_view(static_cast<const char*>(values.data_ptr()),
                          values.numel() * values.element_size()));
    return fingerprinter.Finish();
  });
}

}  // namespace influence
