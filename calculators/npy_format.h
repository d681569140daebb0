// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// NumPy's `.npy` format, versions 1 to 3: the header, and the values that
// follow it. Knows nothing of files: bytes come from a caller's source, so
// that a mapped file and a member of a compressed archive are decoded alike.
//
// No input can crash these functions: every length, shape and byte order is
// checked before it is used, and nothing is allocated for a shape that the
// caller's limits have not accepted. Error messages begin with the `name` the
// caller gives (a file, or a member of an archive).
#ifndef INFLUENCE_CALCULATORS_NPY_FORMAT_H_
#define INFLUENCE_CALCULATORS_NPY_FORMAT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace influence {

// A whole .npy file is longer than this; enough to know the header's length.
inline constexpr int64_t kNpyPreambleSize = 12;

// How the values are laid out, and what they become when they are read.
struct NpyHeader {
  std::vector<int64_t> shape;  // Entries >= 0; empty for a single value.
  std::string descr;           // As in the file: "<f4", "|u1", ...
  bool fortran_order = false;  // First index varies fastest.
  bool big_endian = false;
  int64_t item_size = 0;  // Bytes of one value in the file: 1, 2, 4 or 8.
  // Of the tensors read. Unsigned integers of more than 8 bits, which not every
  // LibTorch has, become int64.
  at::ScalarType dtype = at::kFloat;
  // uint16, uint32 or uint64 in the file.
  bool widened = false;
  int64_t data_offset = 0;  // Bytes from the start of the file to the values.
  int64_t num_values = 0;   // Product of the shape; 1 for an empty shape.

  int64_t num_bytes() const { return num_values * item_size; }
  // Samples along dimension 0; 1 for an empty shape.
  int64_t num_rows() const { return shape.empty() ? 1 : shape.front(); }
};

// "float32 [3, 4]": what the file declares, for messages.
std::string DescribeNpyArray(const NpyHeader& header);

// The offset of the values, from the first kNpyPreambleSize bytes of a file (or
// all of a shorter one). kInvalidArgument if the magic string or the version
// is wrong, or the header is longer than 1 MiB.
absl::StatusOr<int64_t> NpyDataOffset(absl::string_view name,
                                      absl::string_view bytes);

// Parses the header at the start of `bytes`, which may go on beyond it.
// kInvalidArgument, naming the dtype, for object arrays (pickles), structured
// dtypes, complex numbers, strings, dates and long doubles; and for anything
// that is not a well-formed header, a shape of more than 64 dimensions, or one
// whose size in bytes overflows.
absl::StatusOr<NpyHeader> ParseNpyHeader(absl::string_view name,
                                         absl::string_view bytes);

// Fills `out` with the bytes that start `offset` bytes after the header.
using NpyByteSource =
    absl::FunctionRef<absl::Status(int64_t offset, absl::Span<char> out)>;

// Rows [begin, end) of the array, as a new contiguous tensor of shape
// [end - begin, *header.shape[1:]] and dtype header.dtype, in the machine's
// byte order. An array without dimensions is row 0 and gives a tensor without
// dimensions. Calls `source` with increasing offsets, and without gaps if all
// rows are read, so that a stream can serve it. Peak memory: the result, once
// more for Fortran order and half as much for widened unsigned integers.
//
// kInvalidArgument if the range is not within the rows, or a uint64 value is
// above the largest int64; a failure of `source` is returned.
absl::StatusOr<at::Tensor> DecodeNpyRows(absl::string_view name,
                                         const NpyHeader& header, int64_t begin,
                                         int64_t end, NpyByteSource source);

// The whole array in `bytes`, a complete .npy file. kInvalidArgument as above,
// and if the number of bytes after the header is not what it declares.
absl::StatusOr<at::Tensor> DecodeNpy(absl::string_view name,
                                     absl::string_view bytes);

// kInvalidArgument, with both numbers, if a file that has `found` bytes after
// the header has fewer or more than the header declares.
absl::Status ValidateNpySize(absl::string_view name, const NpyHeader& header,
                             int64_t found);

// The header NumPy itself writes (version 1) for a C-contiguous array of this
// shape in little-endian order: its length is a multiple of 64. Supports bool,
// uint8, int8, int16, int32, int64, float16, float32 and float64;
// kInvalidArgument for another dtype, a negative extent, more than 64
// dimensions or a size that overflows.
absl::StatusOr<std::string> FormatNpyHeader(absl::string_view name,
                                            absl::Span<const int64_t> shape,
                                            at::ScalarType dtype);

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_NPY_FORMAT_H_
