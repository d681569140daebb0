// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/npz_testing.h"

#include <zlib.h>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "calculators/npy_format.h"

namespace influence {
namespace {

constexpr uint16_t kStored = 0;
constexpr uint16_t kDeflated = 8;

// Little-endian, `size` bytes.
void AppendNumber(std::string& bytes, uint64_t value, int size) {
  for (int i = 0; i < size; ++i) {
    bytes.push_back(static_cast<char>(value >> (8 * i)));
  }
}

std::string Deflate(std::string contents) {
  z_stream stream = {};
  // Negative: no zlib header round it.
  INFLUENCE_CHECK(deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, -MAX_WBITS, 8,
                               Z_DEFAULT_STRATEGY) == Z_OK);
  std::string compressed(deflateBound(&stream, contents.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(contents.data());
  stream.avail_in = static_cast<uInt>(contents.size());
  stream.next_out = reinterpret_cast<Bytef*>(compressed.data());
  stream.avail_out = static_cast<uInt>(compressed.size());
  INFLUENCE_CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  compressed.resize(stream.total_out);
  deflateEnd(&stream);
  return compressed;
}

}  // namespace

std::string NpyBytes(const at::Tensor& values) {
  const at::Tensor dense = values.contiguous();
  const absl::StatusOr<std::string> header = FormatNpyHeader(
      "test array",
      absl::MakeConstSpan(dense.sizes().data(), dense.sizes().size()),
      dense.scalar_type());
  INFLUENCE_CHECK(header.ok());
  return *header + std::string(static_cast<const char*>(dense.data_ptr()),
                               dense.nbytes());
}

std::string NpyBytes(absl::string_view descr, absl::string_view shape,
                     absl::string_view values) {
  std::string text =
      absl::StrCat("{'descr': '", descr,
                   "', 'fortran_order': False, 'shape': ", shape, ", }");
  text.resize((text.size() / 64 + 2) * 64 - 10 - 1, ' ');
  text.push_back('\n');
  std::string bytes("\x93NUMPY\x01\x00", 8);
  AppendNumber(bytes, text.size(), 2);
  return absl::StrCat(bytes, text, values);
}

std::string ZipBytes(const std::vector<ZipMember>& members) {
  std::string archive;
  std::string directory;
  for (const ZipMember& member : members) {
    const std::string data =
        member.deflated ? Deflate(member.contents) : member.contents;
    // What the local header and the directory have in common.
    std::string common;
    AppendNumber(common, 20, 2);  // Version needed.
    AppendNumber(common, member.encrypted ? 1 : 0, 2);
    AppendNumber(
        common,
        member.declared_method.value_or(member.deflated ? kDeflated : kStored),
        2);
    AppendNumber(common, 0, 2);             // Time.
    AppendNumber(common, (1 << 5) | 1, 2);  // Date: 1980-01-01.
    const uLong checksum =
        crc32(0, reinterpret_cast<const Bytef*>(member.contents.data()),
              static_cast<uInt>(member.contents.size()));
    AppendNumber(common, member.declared_checksum.value_or(checksum), 4);
    AppendNumber(common, data.size(), 4);
    AppendNumber(common, member.declared_size.value_or(member.contents.size()),
                 4);
    AppendNumber(common, member.name.size(), 2);
    AppendNumber(common, 0, 2);  // No extra field.

    const size_t offset = archive.size();
    absl::StrAppend(&archive, "PK\x03\x04", common, member.name, data);
    absl::StrAppend(&directory, "PK\x01\x02");
    AppendNumber(directory, 20, 2);  // Version made by.
    absl::StrAppend(&directory, common);
    AppendNumber(directory, 0, 2);  // No comment.
    AppendNumber(directory, 0, 4);  // Disk, internal attributes.
    AppendNumber(directory, 0, 4);  // External attributes.
    AppendNumber(directory, offset, 4);
    absl::StrAppend(&directory, member.name);
  }
  const size_t directory_offset = archive.size();
  absl::StrAppend(&archive, directory, "PK\x05\x06");
  AppendNumber(archive, 0, 4);  // Disks.
  AppendNumber(archive, members.size(), 2);
  AppendNumber(archive, members.size(), 2);
  AppendNumber(archive, directory.size(), 4);
  AppendNumber(archive, directory_offset, 4);
  AppendNumber(archive, 0, 2);  // No comment.
  return archive;
}

}  // namespace influence
