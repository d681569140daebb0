// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/data_reader_testing.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/validators.h"
#include "cli/data_reader.h"
#include "gradients/batch.h"

namespace influence {
namespace {

constexpr int64_t kMaxArchiveBytes = int64_t{1} << 24;

int MemoryFile(const char* name) {
  const int descriptor = memfd_create(name, MFD_CLOEXEC);
  INFLUENCE_CHECK(descriptor >= 0);
  return descriptor;
}

std::string DescriptorPath(int descriptor) {
  return absl::StrCat("/proc/self/fd/", descriptor);
}

void Fill(int descriptor, absl::string_view bytes) {
  INFLUENCE_CHECK(ftruncate(descriptor, 0) == 0);
  INFLUENCE_CHECK(pwrite(descriptor, bytes.data(), bytes.size(), 0) ==
                  static_cast<ssize_t>(bytes.size()));
}

void CheckMessage(const absl::Status& status, absl::string_view path) {
  const absl::string_view message = status.message();
  INFLUENCE_CHECK(absl::StartsWith(message, absl::StrCat(path, ": ")) ||
                  absl::StartsWith(message, absl::StrCat(path, "/")));
  for (const char c : message) {
    INFLUENCE_CHECK(absl::ascii_isprint(static_cast<unsigned char>(c)));
  }
}

absl::Status ReadAll(const std::string& path, at::ScalarType dtype) {
  DataReaderOptions options;
  options.dtype = dtype;
  options.batch_size = 3;
  options.max_archive_bytes = kMaxArchiveBytes;
  const absl::StatusOr<DataReader> data = DataReader::Open(path, options);
  if (!data.ok()) {
    CheckMessage(data.status(), path);
    return data.status();
  }
  int64_t num_samples = 0;
  for (int64_t i = 0; i < data->num_batches(); ++i) {
    const absl::StatusOr<Batch> batch = data->Get(i);
    if (!batch.ok()) {
      CheckMessage(batch.status(), path);
      return batch.status();
    }
    INFLUENCE_CHECK(ValidateBatch(*batch).ok());
    INFLUENCE_CHECK(static_cast<int64_t>(batch->x.size()) ==
                    data->num_inputs());
    for (int64_t input = 0; input < data->num_inputs(); ++input) {
      INFLUENCE_CHECK(batch->x[input].scalar_type() ==
                      data->input_dtype(input));
    }
    INFLUENCE_CHECK(batch->y.scalar_type() == data->label_dtype());
    num_samples += batch->size();
  }
  INFLUENCE_CHECK(num_samples == data->num_samples());
  return absl::OkStatus();
}

// In both dtypes, which fail alike but for float64 values beyond float32.
absl::Status ReadBoth(const std::string& path) {
  const absl::Status as_double = ReadAll(path, at::kDouble);
  const absl::Status as_float = ReadAll(path, at::kFloat);
  INFLUENCE_CHECK(as_double.ok() || !as_float.ok());
  return as_float;
}

}  // namespace

DataReaderHarness::DataReaderHarness()
    : folder_((std::filesystem::temp_directory_path() / "data_reader.XXXXXX")
                  .string()),
      archive_(MemoryFile("archive")),
      x_(MemoryFile("x")),
      y_(MemoryFile("y")) {
  INFLUENCE_CHECK(mkdtemp(folder_.data()) != nullptr);
  std::filesystem::create_symlink(DescriptorPath(x_), folder_ + "/x.npy");
  std::filesystem::create_symlink(DescriptorPath(y_), folder_ + "/y.npy");
}

DataReaderHarness::~DataReaderHarness() {
  close(archive_);
  close(x_);
  close(y_);
  std::filesystem::remove_all(folder_);
}

absl::Status DataReaderHarness::ReadArchive(absl::string_view bytes) {
  Fill(archive_, bytes);
  return ReadBoth(DescriptorPath(archive_));
}

absl::Status DataReaderHarness::ReadFolder(absl::string_view x,
                                           absl::string_view y) {
  Fill(x_, x);
  Fill(y_, y);
  return ReadBoth(folder_);
}

}  // namespace influence
