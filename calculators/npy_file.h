// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// NumPy `.npy` files on disk: NpyFile reads ranges of rows of one that is
// larger than memory, NpyWriter fills one tile by tile and lets it appear only
// when it is complete.
//
//   INFLUENCE_ASSIGN_OR_RETURN(const NpyFile file, NpyFile::Open("x.npy"));
//   INFLUENCE_ASSIGN_OR_RETURN(at::Tensor rows, file.ReadRows(0, 32));
#ifndef INFLUENCE_CALCULATORS_NPY_FILE_H_
#define INFLUENCE_CALCULATORS_NPY_FILE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "calculators/npy_format.h"

namespace influence {

// A memory-mapped .npy file. Copies share the mapping, which the last of them
// releases. Const and thread-safe. The file must not be written to while it is
// open; one that has become shorter is an error where it is noticed.
class NpyFile {
 public:
  // Reads the header only. kNotFound if there is no such file,
  // kPermissionDenied if it may not be read, kInvalidArgument if it is not a
  // regular file, not a .npy array of a supported dtype (see npy_format.h), or
  // has not exactly the number of bytes its header declares.
  static absl::StatusOr<NpyFile> Open(const std::string& path);

  const std::string& path() const;
  const NpyHeader& header() const;
  absl::Span<const int64_t> shape() const { return header().shape; }
  // Of the tensors read; see NpyHeader.
  at::ScalarType dtype() const { return header().dtype; }
  int64_t num_rows() const { return header().num_rows(); }

  // Rows [begin, end) as a new contiguous tensor on the CPU, in the machine's
  // byte order: [end - begin, *shape[1:]]. kInvalidArgument if the range is
  // not within the rows; kFailedPrecondition if the file has become shorter.
  absl::StatusOr<at::Tensor> ReadRows(int64_t begin, int64_t end) const;

  // The whole array; also for one without dimensions.
  absl::StatusOr<at::Tensor> ReadAll() const;

 private:
  class Mapping;
  explicit NpyFile(std::shared_ptr<const Mapping> mapping);

  std::shared_ptr<const Mapping> mapping_;  // Never null.
};

// Writes one array, in any order of tiles, into a temporary file beside the
// target; Commit() makes it the target in one step. Destruction without
// Commit() removes the temporary file and leaves whatever was at the target
// untouched. The space on the disk is taken by Create(), where the file system
// can, so that a full disk shows before the computation and not after it.
//
// Thread-safe; tiles may be written concurrently.
class NpyWriter {
 public:
  // shape: [N] or [M, N, *x], row-major. dtype: see FormatNpyHeader().
  // kAlreadyExists if there is something at `path` and not `overwrite`, or if
  // it is a folder; kNotFound, kPermissionDenied or kResourceExhausted if the
  // file cannot be made; kInvalidArgument on a bad shape or dtype.
  static absl::StatusOr<std::unique_ptr<NpyWriter>> Create(
      const std::string& path, absl::Span<const int64_t> shape,
      at::ScalarType dtype, bool overwrite);
  ~NpyWriter();
  NpyWriter(const NpyWriter&) = delete;
  NpyWriter& operator=(const NpyWriter&) = delete;

  // Where the values are until Commit(): in the folder of the target, its name
  // beginning with a dot. For programs that end without destructors.
  const std::string& temporary_path() const { return temporary_path_; }

  // Writes tile [m, n, *x] at rows [row_begin, row_begin + m) and columns
  // [col_begin, col_begin + n) of an array of two or more dimensions. A tile
  // may be written again. kInvalidArgument if its dtype is not the array's, its
  // trailing shape differs or it does not fit; kFailedPrecondition after
  // Commit(); kResourceExhausted or kUnavailable if the disk refuses.
  absl::Status WriteTile(int64_t row_begin, int64_t col_begin,
                         const at::Tensor& tile);

  // Writes rows [m, *shape[1:]] of an array of one or more dimensions, from
  // row_begin on. Errors as of WriteTile().
  absl::Status WriteRows(int64_t row_begin, const at::Tensor& rows);

  // Waits until the values are on the disk and gives the file its name.
  // kFailedPrecondition, naming the first missing place, if not all of the
  // array has been written, or on a second call; kAlreadyExists if something
  // appeared at the target meanwhile and not `overwrite`.
  absl::Status Commit();

 private:
  NpyWriter(std::string path, std::string temporary_path, int descriptor,
            int64_t data_offset, absl::Span<const int64_t> shape,
            at::ScalarType dtype, bool overwrite);

  // Writes `count` runs of run_size values, the i-th of them at value number
  // first + i * stride.
  absl::Status WriteRuns(const at::Tensor& values, int64_t first,
                         int64_t stride, int64_t run_size, int64_t count);

  absl::Status CheckOpen() const;

  // Marks the values [begin, end) as written.
  void Cover(int64_t begin, int64_t end);

  const std::string path_;
  const std::string temporary_path_;
  const int descriptor_;
  const int64_t data_offset_;
  const std::vector<int64_t> shape_;
  const at::ScalarType dtype_;
  const bool overwrite_;

  mutable std::mutex mutex_;  // Guards what follows.
  bool committed_ = false;
  // Disjoint ranges of written values, begin to end, neighbours merged; by
  // value number in row-major order. One range for each row at worst.
  std::map<int64_t, int64_t> covered_;
};

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_NPY_FILE_H_
