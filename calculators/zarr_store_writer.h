// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Writes Zarr version 3 stores in folders (zarr_format.h): one array, or a
// group with several, chunk by chunk. A chunk appears whole or not at all
// (atomic_file.h), and one that exists is done; the store gets its name when
// every chunk of every array is there (folder_writer.h). Until then it says of
// itself, in the attribute "complete", that it is not.
//
//   INFLUENCE_ASSIGN_OR_RETURN(const auto store,
//                              ZarrStoreWriter::Create("scores.zarr"));
//   INFLUENCE_ASSIGN_OR_RETURN(
//       ZarrArrayWriter* const array,
//       store->AddArray("", {.shape = {m, n}, .chunk_shape = {64, 1024}}));
//   INFLUENCE_RETURN_IF_ERROR(array->Write({0, 0}, tile));  // And so on.
//   INFLUENCE_RETURN_IF_ERROR(store->Commit());
//
// To go on with what an unfinished run has left, a later run describes the same
// arrays with UnfinishedRun::kContinue and leaves out the chunks that
// HasChunk() knows. To write one store by several processes, each does so with
// `shared`.
#ifndef INFLUENCE_CALCULATORS_ZARR_STORE_WRITER_H_
#define INFLUENCE_CALCULATORS_ZARR_STORE_WRITER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "calculators/folder_writer.h"
#include "calculators/zarr_format.h"

namespace influence {

class ZarrStoreWriter;

// One array of a store. Thread-safe: chunks may be written concurrently.
class ZarrArrayWriter {
 public:
  const ZarrArrayMetadata& metadata() const { return metadata_; }

  // Chunk `index` is there, written by this or by an earlier run. False for an
  // index outside the grid.
  bool HasChunk(absl::Span<const int64_t> index) const;

  // The first chunk, in row-major order, that is not there.
  std::optional<std::vector<int64_t>> FirstMissingChunk() const;

  // Writes chunk `index`; values: its part of the array, see
  // ZarrChunkExtents(). Replaces a chunk that is there. kInvalidArgument if
  // there is no such chunk or values are of another shape or dtype;
  // kFailedPrecondition after Commit(); kResourceExhausted if the disk is full,
  // naming the file. Costs a copy of the chunk, its compression and two
  // fsync(): tiles of a megabyte or more are better than small ones.
  absl::Status WriteChunk(absl::Span<const int64_t> index,
                          const at::Tensor& values);

  // Writes a region of whole chunks whose first entry is at `begin`: each
  // begin[d] is a multiple of the chunk's extent, and so is values.size(d), or
  // the region ends where the array does. Errors of WriteChunk().
  absl::Status Write(absl::Span<const int64_t> begin, const at::Tensor& values);

  // All chunks that have a part in the region from `begin` to before `end` are
  // there.
  bool HasRegion(absl::Span<const int64_t> begin,
                 absl::Span<const int64_t> end) const;

 private:
  friend class ZarrStoreWriter;
  ZarrArrayWriter(FolderWriter* folder, std::string path,
                  ZarrArrayMetadata metadata);

  std::string ChunkPath(absl::Span<const int64_t> index) const;

  // Makes the folders between the array's and the chunk's file.
  absl::Status MakeFolders(const std::string& chunk_path);

  FolderWriter* const folder_;  // Borrowed from the store.
  const std::string path_;      // Relative to the folder; "" for the root.
  const ZarrArrayMetadata metadata_;
};

// Thread-safe.
class ZarrStoreWriter {
 public:
  // Errors of FolderWriter::Create(). `marker`: the file that an output has
  // which may be replaced.
  static absl::StatusOr<std::unique_ptr<ZarrStoreWriter>> Create(
      const std::string& path, const FolderWriterOptions& options = {},
      absl::string_view marker = kZarrMetadataFile);

  const std::string& path() const { return folder_->path(); }

  // Where the store is now; see FolderWriter.
  std::string folder() const { return folder_->folder(); }

  // The store was complete when it was opened (UnfinishedRun::kContinue): all
  // that is left is to see, by AddArray(), that it is the one that was meant.
  bool finished() const { return folder_->finished(); }

  // Makes the root a group with these attributes. At most once, before any
  // AddArray(); a group without attributes where it is not called.
  absl::Status SetGroupAttributes(const ZarrAttributes& attributes);

  // An array at the root (name "", the only one then) or in the group, by a
  // name as of ZarrNodePath(). The result lives as long as the store.
  //
  // Where an earlier run has begun the array, its metadata must be these, and
  // each attribute given here must have the value that it has there:
  // kFailedPrecondition naming what differs, with both values. So attributes
  // guard what a run goes on with. kAlreadyExists if the name is taken,
  // kInvalidArgument on a bad name or bad metadata; errors of writing.
  absl::StatusOr<ZarrArrayWriter*> AddArray(absl::string_view name,
                                            ZarrArrayMetadata metadata);

  // Notes of the run, which Commit() removes; see FolderWriter.
  absl::Status WriteNote(absl::string_view name, absl::string_view bytes,
                         bool replace = true) {
    return folder_->WriteNote(name, bytes, replace);
  }
  absl::StatusOr<std::optional<std::string>> ReadNote(
      absl::string_view name) const {
    return folder_->ReadNote(name);
  }
  absl::StatusOr<std::string> NotePath(absl::string_view name) {
    return folder_->NotePath(name);
  }

  // A file beside the root's metadata, written last of all by Commit().
  void SetFile(std::string name, std::string contents);

  // No chunk of any array is missing, or another process that shares has
  // committed the store.
  bool IsWhole() const;

  // Marks the store as complete, with these attributes added to the root's, and
  // gives it its name. kFailedPrecondition naming the first missing chunk;
  // errors of FolderWriter::Commit(). Writes nothing more if finished().
  absl::Status Commit(
      const ZarrAttributes& attributes = ZarrAttributes::object());

  // See FolderWriter.
  void set_keep_unfinished(bool keep) { folder_->set_keep_unfinished(keep); }

 private:
  explicit ZarrStoreWriter(std::unique_ptr<FolderWriter> folder);

  // All that follow are called with mutex_ held, but for WriteOrCompareNode().
  absl::Status AddGroup(const std::string& path,
                        const ZarrAttributes& attributes);
  absl::StatusOr<ZarrArrayWriter*> AddArrayAt(const std::string& path,
                                              ZarrArrayMetadata metadata);

  // Writes the metadata of a node, or compares them with what is there.
  absl::Status AddNode(const std::string& path, const std::string& json);
  absl::Status WriteOrCompareNode(const std::string& path,
                                  const std::string& json) const;

  absl::Status CheckWhole() const;

  // Writes all metadata again, as complete.
  absl::Status Seal(const ZarrAttributes& attributes);

  const std::unique_ptr<FolderWriter> folder_;  // Never null.

  mutable std::mutex mutex_;  // Guards what follows.
  // By path relative to the root, "" for the root itself.
  std::map<std::string, ZarrAttributes> groups_;
  std::map<std::string, std::unique_ptr<ZarrArrayWriter>> arrays_;
  std::map<std::string, std::string> files_;
};

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_ZARR_STORE_WRITER_H_
