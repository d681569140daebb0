// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Reads Zarr version 3 arrays and groups (zarr_format.h) from folders, those of
// ZarrStoreWriter and of others. Only the chunks that are asked for are read,
// and each is checked.
//
//   INFLUENCE_ASSIGN_OR_RETURN(const ZarrArray scores,
//                              ZarrArray::Open("scores.zarr"));
//   INFLUENCE_ASSIGN_OR_RETURN(at::Tensor row, scores.Read({3, 0}, {4, n}));
#ifndef INFLUENCE_CALCULATORS_ZARR_ARRAY_H_
#define INFLUENCE_CALCULATORS_ZARR_ARRAY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "calculators/zarr_format.h"

namespace influence {

// The attribute in which ZarrStoreWriter says whether all chunks are there:
// false or true. Arrays of others do not have it; there a missing chunk holds
// the fill value, as the format has it.
inline constexpr char kZarrCompleteAttribute[] = "complete";

// Immutable and thread-safe; copies are cheap.
class ZarrArray {
 public:
  // Reads the metadata only. kNotFound if there is no zarr.json in `folder`
  // (saying so if there is an unfinished run beside it); kFailedPrecondition if
  // the array says that it is not complete and not `allow_incomplete`; errors
  // of ParseZarrArray(), naming the file.
  static absl::StatusOr<ZarrArray> Open(const std::string& folder,
                                        bool allow_incomplete = false);

  const std::string& folder() const { return folder_; }
  const ZarrArrayMetadata& metadata() const { return metadata_; }
  const std::vector<int64_t>& shape() const { return metadata_.shape; }
  at::ScalarType dtype() const { return metadata_.dtype; }

  // The file of chunk `index`, which need not exist.
  std::string ChunkPath(absl::Span<const int64_t> index) const;

  // Chunk `index`, the part of it within the array, as a new tensor on the CPU.
  // kDataLoss, naming file and index, if the chunk is damaged, or missing in an
  // array that says it is complete; kInvalidArgument if there is no such chunk
  // in the grid; kPermissionDenied or the like if the file cannot be read.
  absl::StatusOr<at::Tensor> ReadChunk(absl::Span<const int64_t> index) const;

  // The entries from `begin` to before `end`, an entry for each dimension, as
  // [end[0] - begin[0], ...]. Reads the chunks that have a part in it, one
  // after the other: memory is the result and one chunk. kInvalidArgument if
  // the range is not within the array; errors of ReadChunk().
  absl::StatusOr<at::Tensor> Read(absl::Span<const int64_t> begin,
                                  absl::Span<const int64_t> end) const;

  // Rows [begin, end) along dimension 0, all of the others.
  absl::StatusOr<at::Tensor> ReadRows(int64_t begin, int64_t end) const;

  absl::StatusOr<at::Tensor> ReadAll() const;

  // Reads every chunk, one at a time; the first error of ReadChunk().
  absl::Status Verify() const;

 private:
  ZarrArray(std::string folder, ZarrArrayMetadata metadata, bool complete);

  // A whole chunk, of shape chunk_shape.
  absl::StatusOr<at::Tensor> ReadWholeChunk(
      absl::Span<const int64_t> index) const;

  std::string folder_;
  ZarrArrayMetadata metadata_;
  bool complete_;  // So the array says.
};

// A folder with arrays, and groups, below it. Immutable and thread-safe.
class ZarrGroup {
 public:
  // As ZarrArray::Open().
  static absl::StatusOr<ZarrGroup> Open(const std::string& folder,
                                        bool allow_incomplete = false);

  const std::string& folder() const { return folder_; }
  const ZarrAttributes& attributes() const { return attributes_; }

  // The array that ZarrStoreWriter::AddArray(name) wrote, or another program
  // under this path. kNotFound if there is none; errors of ZarrArray::Open().
  absl::StatusOr<ZarrArray> OpenArray(absl::string_view name) const;

 private:
  ZarrGroup(std::string folder, ZarrAttributes attributes,
            bool allow_incomplete);

  std::string folder_;
  ZarrAttributes attributes_;
  bool allow_incomplete_;
};

// What is at `folder`. kNotFound, kDataLoss, kInvalidArgument as Open().
enum class ZarrNodeType { kArray, kGroup };
absl::StatusOr<ZarrNodeType> ZarrNodeTypeOf(const std::string& folder);

// The folder, relative to the group's, of the node that is called `name`: a
// path of parts between slashes. A part stays as it is if the format and the
// file system admit it as a name ("fc1.weight", dots included); characters that
// they do not are written as "%" and two hexadecimal digits. kInvalidArgument
// if a part is empty or longer than 200 bytes.
absl::StatusOr<std::string> ZarrNodePath(absl::string_view name);

// Calls `function` with the index of each chunk of a grid of this shape, in
// row-major order, until it returns an error.
template <typename Function>
absl::Status ForEachZarrChunk(absl::Span<const int64_t> grid_begin,
                              absl::Span<const int64_t> grid_end,
                              Function&& function) {
  std::vector<int64_t> index(grid_begin.begin(), grid_begin.end());
  for (size_t d = 0; d < index.size(); ++d) {
    if (grid_begin[d] >= grid_end[d]) return absl::OkStatus();
  }
  while (true) {
    if (absl::Status status = function(index); !status.ok()) return status;
    size_t d = index.size();
    while (d > 0 && ++index[d - 1] == grid_end[d - 1]) {
      --d;
      index[d] = grid_begin[d];
    }
    if (d == 0) return absl::OkStatus();
  }
}

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_ZARR_ARRAY_H_
