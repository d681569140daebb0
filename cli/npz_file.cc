// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/npz_file.h"

#include <sys/stat.h>
#include <zip.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "calculators/npy_format.h"

namespace influence {
namespace {

// What deflate reaches at best: 258 bytes out of 2 bits, and a few bytes more.
constexpr int64_t kMaxDeflateRatio = 1032;
constexpr int64_t kDeflateSlack = 1032;

std::string ZipErrorText(int code) {
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  std::string text = zip_error_strerror(&error);
  zip_error_fini(&error);
  return text;
}

// For a file that exists: libzip's "no such file" then means that an entry of
// the directory lacks the field for sizes above 4 GiB.
absl::Status OpenStatus(int code, const std::string& path) {
  if (code == ZIP_ER_NOENT) code = ZIP_ER_INCONS;
  const std::string message = absl::StrCat(
      path, ": found \"", ZipErrorText(code), "\", expected an .npz archive");
  switch (code) {
    case ZIP_ER_OPEN:
      return absl::PermissionDeniedError(message);
    case ZIP_ER_MEMORY:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::InvalidArgumentError(message);
  }
}

absl::Status ValidateRegularFile(const std::string& path) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0) {
    return absl::Status(
        absl::ErrnoToStatusCode(errno),
        absl::StrCat(path, ": found \"", std::generic_category().message(errno),
                     "\", expected an .npz archive"));
  }
  if (S_ISREG(status.st_mode)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      path, ": found ",
      S_ISDIR(status.st_mode) ? "a folder" : "a device, pipe or socket",
      ", expected an .npz archive"));
}

struct FileCloser {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};

// Reads one member from its start to its end.
class MemberStream {
 public:
  MemberStream(std::string name, zip_file_t* file)
      : name_(std::move(name)), file_(file) {}

  // Fills `out`; kInvalidArgument if the member ends before or is damaged.
  absl::Status Read(absl::Span<char> out) {
    constexpr size_t kMaxRead = size_t{1} << 24;
    while (!out.empty()) {
      const int64_t count =
          zip_fread(file_.get(), out.data(), std::min(out.size(), kMaxRead));
      if (count < 0) return Damaged();
      if (count == 0) {
        return absl::InvalidArgumentError(
            absl::StrCat(name_, ": found ", position_, " bytes, expected ",
                         out.size(), " more"));
      }
      position_ += count;
      out.remove_prefix(static_cast<size_t>(count));
    }
    return absl::OkStatus();
  }

  // There is nothing more, and the checksum is right (libzip compares it when
  // the end is reached).
  absl::Status ExpectEnd() {
    char extra = '\0';
    const int64_t count = zip_fread(file_.get(), &extra, 1);
    if (count < 0) return Damaged();
    if (count == 0) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(name_, ": found more than ", position_,
                     " bytes, expected the size that the archive declares"));
  }

  int64_t position() const { return position_; }

 private:
  absl::Status Damaged() {
    return absl::InvalidArgumentError(absl::StrCat(
        name_, ": found damaged data after ", position_, " bytes (",
        zip_file_strerror(file_.get()), "), expected an intact archive"));
  }

  const std::string name_;
  std::unique_ptr<zip_file_t, FileCloser> file_;
  int64_t position_ = 0;
};

}  // namespace

class NpzFile::Archive {
 public:
  Archive(std::string path, zip_t* zip) : path_(std::move(path)), zip_(zip) {}
  ~Archive() { zip_discard(zip_); }
  Archive(const Archive&) = delete;
  Archive& operator=(const Archive&) = delete;

  absl::Status ReadDirectory() {
    const int64_t count = zip_get_num_entries(zip_, 0);
    for (int64_t i = 0; i < count; ++i) {
      const char* raw = zip_get_name(zip_, i, ZIP_FL_ENC_RAW);
      absl::string_view name = raw == nullptr ? "" : raw;
      if (!absl::ConsumeSuffix(&name, ".npy") || name.empty()) {
        return absl::InvalidArgumentError(
            absl::StrCat(path_, ": found a member \"",
                         absl::CHexEscape(raw == nullptr ? "" : raw),
                         "\", expected .npy arrays only"));
      }
      if (std::find(names_.begin(), names_.end(), name) != names_.end()) {
        return absl::InvalidArgumentError(
            absl::StrCat(path_, ": found the array ", absl::CHexEscape(name),
                         " twice, expected it once"));
      }
      // Far more than any model has inputs; bounds the search above.
      constexpr size_t kMaxArrays = 1000;
      if (names_.size() == kMaxArrays) {
        return absl::InvalidArgumentError(
            absl::StrCat(path_, ": found ", count, " arrays, expected at most ",
                         kMaxArrays));
      }
      names_.emplace_back(name);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<at::Tensor> Read(absl::string_view array_name,
                                  int64_t max_bytes) {
    const std::string name = absl::StrCat(path_, ": ", array_name);
    const auto found = std::find(names_.begin(), names_.end(), array_name);
    if (found == names_.end()) {
      return absl::NotFoundError(
          absl::StrCat(name, ": found no such array, expected one"));
    }
    const int64_t index = found - names_.begin();
    INFLUENCE_ASSIGN_OR_RETURN(const int64_t size, MemberSize(name, index));
    zip_file_t* file = zip_fopen_index(zip_, index, 0);
    if (file == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": found \"", zip_strerror(zip_),
                       "\", expected a readable member"));
    }
    MemberStream stream(name, file);

    std::string start(std::min(size, kNpyPreambleSize), '\0');
    INFLUENCE_RETURN_IF_ERROR(stream.Read(absl::MakeSpan(start)));
    INFLUENCE_ASSIGN_OR_RETURN(const int64_t data_offset,
                               NpyDataOffset(name, start));
    if (data_offset < kNpyPreambleSize || data_offset > size) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": found ", size, " bytes, expected a header of ",
                       data_offset, " bytes and the values"));
    }
    start.resize(data_offset);
    INFLUENCE_RETURN_IF_ERROR(
        stream.Read(absl::MakeSpan(start).subspan(kNpyPreambleSize)));
    INFLUENCE_ASSIGN_OR_RETURN(const NpyHeader header,
                               ParseNpyHeader(name, start));
    INFLUENCE_RETURN_IF_ERROR(
        ValidateNpySize(name, header, size - data_offset));
    // In memory, unsigned integers are wider than in the file.
    const int64_t num_bytes =
        header.num_values *
        static_cast<int64_t>(c10::elementSize(header.dtype));
    if (num_bytes > max_bytes) {
      return absl::ResourceExhaustedError(absl::StrCat(
          name, ": found ", num_bytes, " bytes of values (",
          DescribeNpyArray(header), "), expected at most ", max_bytes,
          " in an archive, which is read into memory; a folder of .npy files "
          "has no such limit"));
    }
    INFLUENCE_ASSIGN_OR_RETURN(
        at::Tensor values,
        DecodeNpyRows(name, header, 0, header.num_rows(),
                      [&](int64_t offset, absl::Span<char> out) {
                        INFLUENCE_CHECK(offset + data_offset ==
                                        stream.position());
                        return stream.Read(out);
                      }));
    INFLUENCE_RETURN_IF_ERROR(stream.ExpectEnd());
    return values;
  }

  const std::string& path() const { return path_; }
  const std::vector<std::string>& names() const { return names_; }

 private:
  // The member's declared uncompressed size, once it is found possible.
  absl::StatusOr<int64_t> MemberSize(absl::string_view name, int64_t index) {
    zip_stat_t entry;
    zip_stat_init(&entry);
    constexpr zip_uint64_t kNeeded = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE |
                                     ZIP_STAT_COMP_METHOD |
                                     ZIP_STAT_ENCRYPTION_METHOD;
    if (zip_stat_index(zip_, index, 0, &entry) != 0 ||
        (entry.valid & kNeeded) != kNeeded) {
      return absl::InvalidArgumentError(absl::StrCat(
          name,
          ": found an incomplete directory entry, expected sizes and "
          "compression method"));
    }
    if (entry.encryption_method != ZIP_EM_NONE) {
      return absl::InvalidArgumentError(absl::StrCat(
          name, ": found an encrypted member, expected an open one"));
    }
    const bool deflated = entry.comp_method == ZIP_CM_DEFLATE;
    if (!deflated && entry.comp_method != ZIP_CM_STORE) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": found compression method ", entry.comp_method,
                       ", expected 0 (stored) or 8 (deflated)"));
    }
    constexpr uint64_t kMax =
        std::numeric_limits<int64_t>::max() / (2 * kMaxDeflateRatio);
    const bool possible =
        entry.size <= kMax && entry.comp_size <= kMax &&
        (deflated
             ? entry.size <= kMaxDeflateRatio * entry.comp_size + kDeflateSlack
             : entry.size == entry.comp_size);
    if (!possible) {
      return absl::InvalidArgumentError(absl::StrCat(
          name, ": found a declared size of ", entry.size, " bytes from ",
          entry.comp_size, deflated ? " deflated" : " stored",
          " bytes, expected a possible one"));
    }
    return static_cast<int64_t>(entry.size);
  }

  const std::string path_;
  zip_t* const zip_;
  std::vector<std::string> names_;  // By index in the archive.
};

NpzFile::NpzFile(std::unique_ptr<Archive> archive)
    : archive_(std::move(archive)) {}
NpzFile::NpzFile(NpzFile&&) noexcept = default;
NpzFile& NpzFile::operator=(NpzFile&&) noexcept = default;
NpzFile::~NpzFile() = default;

absl::StatusOr<NpzFile> NpzFile::Open(const std::string& path) {
  INFLUENCE_RETURN_IF_ERROR(ValidateRegularFile(path));
  int code = 0;
  zip_t* zip = zip_open(path.c_str(), ZIP_RDONLY, &code);
  if (zip == nullptr) return OpenStatus(code, path);
  auto archive = std::make_unique<Archive>(path, zip);
  INFLUENCE_RETURN_IF_ERROR(archive->ReadDirectory());
  return NpzFile(std::move(archive));
}

const std::string& NpzFile::path() const { return archive_->path(); }

const std::vector<std::string>& NpzFile::names() const {
  return archive_->names();
}

absl::StatusOr<at::Tensor> NpzFile::Read(absl::string_view array_name,
                                         int64_t max_bytes) {
  return archive_->Read(array_name, max_bytes);
}

}  // namespace influence
