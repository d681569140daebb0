// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/npy_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "calculators/atomic_file.h"

namespace influence {
namespace {

// Takes the space on the disk now if the file system knows how to.
absl::Status Reserve(int descriptor, int64_t size, absl::string_view path) {
  int result = 0;
  do {
    result = fallocate(descriptor, 0, 0, size);
  } while (result != 0 && errno == EINTR);
  if (result == 0) return absl::OkStatus();
  if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL) {
    if (ftruncate(descriptor, size) == 0) return absl::OkStatus();
  }
  return ErrnoStatus(errno, path,
                     absl::StrCat("room for ", size, " bytes on the disk"));
}

// A copy of less is not worth a system call.
constexpr size_t kLeastReleasedBytes = size_t{64} << 10;

absl::Status ValidateTarget(const std::string& path, bool overwrite) {
  if (path.empty() || path.back() == '/') {
    return absl::InvalidArgumentError(absl::StrCat(
        "output path: found \"", path, "\", expected the name of a file"));
  }
  struct stat status;
  if (lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return absl::OkStatus();
    return ErrnoStatus(errno, path, "a path that can be looked up");
  }
  if (S_ISDIR(status.st_mode)) {
    return absl::AlreadyExistsError(
        absl::StrCat(path, ": found a folder, expected a file or nothing"));
  }
  if (!overwrite) {
    return absl::AlreadyExistsError(absl::StrCat(
        path,
        ": found an existing file, expected none (or overwriting to be "
        "asked for)"));
  }
  return absl::OkStatus();
}

}  // namespace

// The descriptor and the mapped bytes of a whole file.
class NpyFile::Mapping {
 public:
  Mapping(std::string path, int descriptor)
      : path_(std::move(path)), descriptor_(descriptor) {}

  ~Mapping() {
    if (data_ != nullptr) munmap(data_, size_);
    close(descriptor_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  absl::Status Map() {
    INFLUENCE_ASSIGN_OR_RETURN(size_, CurrentSize());
    if (size_ > 0) {
      void* data = mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor_, 0);
      if (data == MAP_FAILED) {
        return ErrnoStatus(errno, path_,
                           "a file that can be mapped into memory");
      }
      data_ = static_cast<char*>(data);
    }
    INFLUENCE_ASSIGN_OR_RETURN(
        header_, ParseNpyHeader(path_, absl::string_view(data_, size_)));
    return ValidateNpySize(path_, header_, size_ - header_.data_offset);
  }

  absl::StatusOr<at::Tensor> ReadRows(int64_t begin, int64_t end) const {
    // Touching a page beyond the end of a file kills the process.
    INFLUENCE_ASSIGN_OR_RETURN(const int64_t size, CurrentSize());
    if (size < size_) {
      return absl::FailedPreconditionError(
          absl::StrCat(path_, ": found ", size, " bytes, expected the ", size_,
                       " it had when it was opened"));
    }
    const char* values = data_ + header_.data_offset;
    return DecodeNpyRows(path_, header_, begin, end,
                         [&](int64_t offset, absl::Span<char> out) {
                           std::memcpy(out.data(), values + offset, out.size());
                           Release(values + offset, out.size());
                           return absl::OkStatus();
                         });
  }

  const std::string& path() const { return path_; }
  const NpyHeader& header() const { return header_; }

 private:
  absl::StatusOr<int64_t> CurrentSize() const {
    struct stat status;
    if (fstat(descriptor_, &status) != 0) {
      return ErrnoStatus(errno, path_, "a readable file");
    }
    if (!S_ISREG(status.st_mode)) {
      return absl::InvalidArgumentError(absl::StrCat(
          path_, ": found ",
          S_ISDIR(status.st_mode) ? "a folder" : "a device, pipe or socket",
          ", expected a .npy file"));
    }
    return int64_t{status.st_size};
  }

  // Takes pages that have been copied out of this process's memory, which does
  // not grow with the file then; they stay in the system's cache.
  void Release(const char* begin, size_t size) const {
    if (size < kLeastReleasedBytes) return;
    static const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t start = (begin - data_) / page * page;
    const size_t end = (begin - data_ + size) / page * page;
    if (end > start) madvise(data_ + start, end - start, MADV_DONTNEED);
  }

  const std::string path_;
  const int descriptor_;
  char* data_ = nullptr;  // size_ bytes; null if the file is empty.
  int64_t size_ = 0;
  NpyHeader header_;
};

NpyFile::NpyFile(std::shared_ptr<const Mapping> mapping)
    : mapping_(std::move(mapping)) {}

absl::StatusOr<NpyFile> NpyFile::Open(const std::string& path) {
  // Without O_NONBLOCK, opening a pipe would wait for a writer.
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return ErrnoStatus(errno, path, "a readable file");
  auto mapping = std::make_shared<Mapping>(path, descriptor);
  INFLUENCE_RETURN_IF_ERROR(mapping->Map());
  return NpyFile(std::move(mapping));
}

const std::string& NpyFile::path() const { return mapping_->path(); }

const NpyHeader& NpyFile::header() const { return mapping_->header(); }

absl::StatusOr<at::Tensor> NpyFile::ReadRows(int64_t begin, int64_t end) const {
  return mapping_->ReadRows(begin, end);
}

absl::StatusOr<at::Tensor> NpyFile::ReadAll() const {
  return mapping_->ReadRows(0, num_rows());
}

absl::StatusOr<std::unique_ptr<NpyWriter>> NpyWriter::Create(
    const std::string& path, absl::Span<const int64_t> shape,
    at::ScalarType dtype, bool overwrite) {
  INFLUENCE_RETURN_IF_ERROR(ValidateTarget(path, overwrite));
  if (shape.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": found shape [], expected at least one dimension"));
  }
  INFLUENCE_ASSIGN_OR_RETURN(const std::string header,
                             FormatNpyHeader(path, shape, dtype));
  const int64_t header_size = static_cast<int64_t>(header.size());
  int64_t size = static_cast<int64_t>(c10::elementSize(dtype));
  for (const int64_t extent : shape) size *= extent;
  if (__builtin_add_overflow(size, header_size, &size)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path,
                     ": found an array too large for a file, expected "
                     "one whose size in bytes fits int64"));
  }
  std::string temporary_path;
  INFLUENCE_ASSIGN_OR_RETURN(const int descriptor,
                             OpenTemporaryFile(path, temporary_path));
  auto writer = std::unique_ptr<NpyWriter>(
      new NpyWriter(path, std::move(temporary_path), descriptor, header_size,
                    shape, dtype, overwrite));
  INFLUENCE_RETURN_IF_ERROR(Reserve(descriptor, size, path));
  INFLUENCE_RETURN_IF_ERROR(WriteAt(descriptor, header, 0, path));
  return writer;
}

NpyWriter::NpyWriter(std::string path, std::string temporary_path,
                     int descriptor, int64_t data_offset,
                     absl::Span<const int64_t> shape, at::ScalarType dtype,
                     bool overwrite)
    : path_(std::move(path)),
      temporary_path_(std::move(temporary_path)),
      descriptor_(descriptor),
      data_offset_(data_offset),
      shape_(shape.begin(), shape.end()),
      dtype_(dtype),
      overwrite_(overwrite) {}

NpyWriter::~NpyWriter() {
  close(descriptor_);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!committed_) unlink(temporary_path_.c_str());
}

absl::Status NpyWriter::CheckOpen() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!committed_) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      path_, ": found the file complete already, expected no more writes"));
}

void NpyWriter::Cover(int64_t begin, int64_t end) {
  if (begin == end) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  // The first range that could touch [begin, end).
  auto range = covered_.upper_bound(begin);
  if (range != covered_.begin() && std::prev(range)->second >= begin) --range;
  while (range != covered_.end() && range->first <= end) {
    begin = std::min(begin, range->first);
    end = std::max(end, range->second);
    range = covered_.erase(range);
  }
  covered_.emplace(begin, end);
}

absl::Status NpyWriter::WriteRuns(const at::Tensor& values, int64_t first,
                                  int64_t stride, int64_t run_size,
                                  int64_t count) {
  return CatchTorch(path_, [&]() -> absl::Status {
    const at::Tensor dense = values.detach().to(at::kCPU).contiguous();
    const char* data = static_cast<const char*>(dense.data_ptr());
    const int64_t item_size = static_cast<int64_t>(dense.element_size());
    for (int64_t i = 0; i < count; ++i) {
      const int64_t begin = first + i * stride;
      INFLUENCE_RETURN_IF_ERROR(
          WriteAt(descriptor_,
                  absl::string_view(data + i * run_size * item_size,
                                    run_size * item_size),
                  data_offset_ + begin * item_size, path_));
      Cover(begin, begin + run_size);
    }
    return absl::OkStatus();
  });
}

absl::Status NpyWriter::WriteTile(int64_t row_begin, int64_t col_begin,
                                  const at::Tensor& tile) {
  INFLUENCE_RETURN_IF_ERROR(CheckOpen());
  if (shape_.size() < 2) {
    return absl::InvalidArgumentError(absl::StrCat(
        path_, ": found a tile for an array of shape [",
        absl::StrJoin(shape_, ", "), "], expected two or more dimensions"));
  }
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined(path_, tile));
  std::vector<int64_t> expected = shape_;
  if (tile.dim() == static_cast<int64_t>(shape_.size())) {
    expected[0] = tile.size(0);
    expected[1] = tile.size(1);
  }
  if (tile.scalar_type() != dtype_ ||
      tile.sizes() != at::IntArrayRef(expected) || row_begin < 0 ||
      row_begin > shape_[0] - tile.size(0) || col_begin < 0 ||
      col_begin > shape_[1] - tile.size(1)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": found a tile ", DtypeName(tile.scalar_type()),
                     " ", ShapeString(tile), " at row ", row_begin, ", column ",
                     col_begin, ", expected one within ", DtypeName(dtype_),
                     " [", absl::StrJoin(shape_, ", "), "]"));
  }
  int64_t value_size = 1;  // Values of one (row, column) pair.
  for (size_t i = 2; i < shape_.size(); ++i) value_size *= shape_[i];
  const int64_t row_size = shape_[1] * value_size;
  const int64_t first = row_begin * row_size + col_begin * value_size;
  if (tile.size(1) == shape_[1]) {
    return WriteRuns(tile, first, 0, tile.numel(), 1);
  }
  return WriteRuns(tile, first, row_size, tile.size(1) * value_size,
                   tile.size(0));
}

absl::Status NpyWriter::WriteRows(int64_t row_begin, const at::Tensor& rows) {
  INFLUENCE_RETURN_IF_ERROR(CheckOpen());
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined(path_, rows));
  std::vector<int64_t> expected = shape_;
  if (rows.dim() == static_cast<int64_t>(shape_.size())) {
    expected[0] = rows.size(0);
  }
  if (rows.scalar_type() != dtype_ ||
      rows.sizes() != at::IntArrayRef(expected) || row_begin < 0 ||
      row_begin > shape_[0] - rows.size(0)) {
    return absl::InvalidArgumentError(absl::StrCat(
        path_, ": found rows ", DtypeName(rows.scalar_type()), " ",
        ShapeString(rows), " at row ", row_begin, ", expected some within ",
        DtypeName(dtype_), " [", absl::StrJoin(shape_, ", "), "]"));
  }
  int64_t row_size = 1;
  for (size_t i = 1; i < shape_.size(); ++i) row_size *= shape_[i];
  return WriteRuns(rows, row_begin * row_size, 0, rows.numel(), 1);
}

absl::Status NpyWriter::Commit() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (committed_) {
    return absl::FailedPreconditionError(absl::StrCat(
        path_, ": found the file complete already, expected one Commit()"));
  }
  int64_t num_values = 1;
  for (const int64_t extent : shape_) num_values *= extent;
  const bool starts_covered = !covered_.empty() && covered_.begin()->first == 0;
  const int64_t covered = starts_covered ? covered_.begin()->second : 0;
  if (covered != num_values) {
    std::vector<int64_t> index(shape_.size());
    int64_t rest = covered;
    for (size_t i = shape_.size(); i-- > 0;) {
      index[i] = rest % shape_[i];
      rest /= shape_[i];
    }
    return absl::FailedPreconditionError(absl::StrCat(
        path_, ": found nothing written at [", absl::StrJoin(index, ", "),
        "], expected all of [", absl::StrJoin(shape_, ", "), "]"));
  }
  if (fsync(descriptor_) != 0) {
    return ErrnoStatus(errno, path_, "to bring it to the disk");
  }
  INFLUENCE_RETURN_IF_ERROR(Rename(temporary_path_, path_, overwrite_));
  committed_ = true;
  SyncFolder(ParentFolder(path_));
  return absl::OkStatus();
}

}  // namespace influence
