// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/zarr_store_writer.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "calculators/atomic_file.h"
#include "calculators/zarr_array.h"

namespace influence {
namespace {

// Compares objects whatever the order of their keys.
using Json = nlohmann::json;

constexpr int64_t kMaxMetadataBytes = int64_t{256} << 20;

bool Exists(const std::string& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0;
}

std::string Join(const std::string& folder, absl::string_view path) {
  return path.empty() ? folder : absl::StrCat(folder, "/", path);
}

std::string MetadataPath(const std::string& folder, absl::string_view path) {
  return absl::StrCat(Join(folder, path), "/", kZarrMetadataFile);
}

std::string IndexText(absl::Span<const int64_t> index) {
  return absl::StrCat("(", absl::StrJoin(index, ", "), ")");
}

// At most 100 characters.
std::string Excerpt(const Json& value) {
  std::string text =
      value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (text.size() > 100) text = text.substr(0, 97) + "...";
  return text;
}

absl::Status Differs(absl::string_view file, absl::string_view what,
                     const Json& found, const Json& expected) {
  return absl::FailedPreconditionError(
      absl::StrCat(file, ": found ", what, " ", Excerpt(found),
                   " of an earlier run, expected ", Excerpt(expected)));
}

// Compares what an earlier run has written with what this one would write.
absl::Status CheckSame(absl::string_view file, absl::string_view there_text,
                       absl::string_view wanted_text) {
  const Json there = Json::parse(there_text, nullptr, false);
  const Json wanted = Json::parse(wanted_text, nullptr, false);
  const auto find = [](const Json& object, const std::string& key) {
    return object.is_object() && object.contains(key) ? object[key] : Json();
  };
  for (const auto& [key, value] : wanted.items()) {
    if (key == "attributes") continue;
    if (const Json found = find(there, key); found != value) {
      return Differs(file, key, found, value);
    }
  }
  const Json attributes = find(there, "attributes");
  for (const auto& [key, value] : wanted["attributes"].items()) {
    if (key == kZarrCompleteAttribute) continue;
    if (const Json found = find(attributes, key); found != value) {
      return Differs(file, absl::StrCat("attribute \"", key, "\""), found,
                     value);
    }
  }
  return absl::OkStatus();
}

ZarrAttributes WithComplete(ZarrAttributes attributes, bool complete) {
  if (attributes.is_object()) attributes[kZarrCompleteAttribute] = complete;
  return attributes;
}

}  // namespace

ZarrArrayWriter::ZarrArrayWriter(FolderWriter* folder, std::string path,
                                 ZarrArrayMetadata metadata)
    : folder_(folder), path_(std::move(path)), metadata_(std::move(metadata)) {}

std::string ZarrArrayWriter::ChunkPath(absl::Span<const int64_t> index) const {
  return absl::StrCat(Join(folder_->folder(), path_), "/",
                      ZarrChunkKey(metadata_, index));
}

bool ZarrArrayWriter::HasChunk(absl::Span<const int64_t> index) const {
  return index.size() == metadata_.shape.size() && Exists(ChunkPath(index));
}

std::optional<std::vector<int64_t>> ZarrArrayWriter::FirstMissingChunk() const {
  std::optional<std::vector<int64_t>> missing;
  const std::vector<int64_t> grid = metadata_.grid_shape();
  ForEachZarrChunk(std::vector<int64_t>(grid.size(), 0), grid,
                   [&](const std::vector<int64_t>& index) -> absl::Status {
                     if (HasChunk(index)) return absl::OkStatus();
                     missing = index;
                     return absl::NotFoundError("");
                   })
      .IgnoreError();
  return missing;
}

absl::Status ZarrArrayWriter::MakeFolders(const std::string& chunk_path) {
  const std::string folder = ParentFolder(chunk_path);
  if (Exists(folder)) return absl::OkStatus();
  const std::string root = Join(folder_->folder(), path_);
  std::vector<std::string> missing;
  for (std::string at = folder; at.size() > root.size();
       at = ParentFolder(at)) {
    missing.push_back(at);
  }
  std::reverse(missing.begin(), missing.end());
  for (const std::string& at : missing) {
    if (mkdir(at.c_str(), 0777) != 0) {
      if (errno == EEXIST) continue;
      return ErrnoStatus(errno, at, "to make this folder");
    }
    SyncFolder(ParentFolder(at));
  }
  return absl::OkStatus();
}

absl::Status ZarrArrayWriter::WriteChunk(absl::Span<const int64_t> index,
                                         const at::Tensor& values) {
  const std::string path = ChunkPath(index);
  const std::vector<int64_t> grid = metadata_.grid_shape();
  bool inside = index.size() == grid.size();
  for (size_t d = 0; inside && d < grid.size(); ++d) {
    inside = index[d] >= 0 && index[d] < grid[d];
  }
  if (!inside) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": found chunk ", IndexText(index),
                     ", expected one of [", absl::StrJoin(grid, ", "), "]"));
  }
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined(path, values));
  const std::vector<int64_t> extents = ZarrChunkExtents(metadata_, index);
  if (values.scalar_type() != metadata_.dtype ||
      values.sizes() != at::IntArrayRef(extents)) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": found values ", DtypeName(values.scalar_type()), " ",
        ShapeString(values), ", expected ", DtypeName(metadata_.dtype), " [",
        absl::StrJoin(extents, ", "), "] for chunk ", IndexText(index)));
  }
  if (folder_->finished()) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, ": found the store complete already, expected no more writes"));
  }
  // One that shares may have completed the store, with this chunk: nothing more
  // is written by its former name, which another run may have taken.
  if (folder_->FinishedByAnother()) return absl::OkStatus();
  INFLUENCE_ASSIGN_OR_RETURN(const std::string bytes,
                             EncodeZarrChunk(path, metadata_, values));
  absl::Status status = MakeFolders(path);
  if (status.ok()) status = WriteFileAtomically(path, bytes);
  // One that shares may have written the same chunk, and completed the store:
  // what exists is done.
  if (!status.ok() && folder_->shared() &&
      (HasChunk(index) || (folder_->FinishedByAnother() && HasChunk(index)))) {
    return absl::OkStatus();
  }
  return status;
}

absl::Status ZarrArrayWriter::Write(absl::Span<const int64_t> begin,
                                    const at::Tensor& values) {
  const std::string name = Join(folder_->folder(), path_);
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined(name, values));
  const std::vector<int64_t>& shape = metadata_.shape;
  bool whole = begin.size() == shape.size() &&
               values.dim() == metadata_.num_dimensions();
  std::vector<int64_t> grid_begin;
  std::vector<int64_t> grid_end;
  for (size_t d = 0; whole && d < shape.size(); ++d) {
    const int64_t chunk = metadata_.chunk_shape[d];
    const int64_t extent = values.size(static_cast<int64_t>(d));
    whole = begin[d] >= 0 && begin[d] % chunk == 0 &&
            begin[d] <= shape[d] - extent &&
            (extent % chunk == 0 || begin[d] + extent == shape[d]);
    grid_begin.push_back(begin[d] / chunk);
    grid_end.push_back((begin[d] + extent + chunk - 1) / chunk);
  }
  if (!whole || values.scalar_type() != metadata_.dtype) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, ": found values ", DtypeName(values.scalar_type()), " ",
        ShapeString(values), " at ", IndexText(begin),
        ", expected a region of whole chunks of ", metadata_.ToString()));
  }
  return CatchTorch(name, [&]() -> absl::Status {
    return ForEachZarrChunk(
        grid_begin, grid_end,
        [&](absl::Span<const int64_t> index) -> absl::Status {
          const std::vector<int64_t> extents =
              ZarrChunkExtents(metadata_, index);
          at::Tensor part = values;
          for (size_t d = 0; d < shape.size(); ++d) {
            part = part.narrow(static_cast<int64_t>(d),
                               index[d] * metadata_.chunk_shape[d] - begin[d],
                               extents[d]);
          }
          return WriteChunk(index, part);
        });
  });
}

bool ZarrArrayWriter::HasRegion(absl::Span<const int64_t> begin,
                                absl::Span<const int64_t> end) const {
  std::vector<int64_t> grid_begin;
  std::vector<int64_t> grid_end;
  if (begin.size() != metadata_.shape.size() || end.size() != begin.size()) {
    return false;
  }
  for (size_t d = 0; d < begin.size(); ++d) {
    const int64_t chunk = metadata_.chunk_shape[d];
    grid_begin.push_back(begin[d] / chunk);
    grid_end.push_back((end[d] + chunk - 1) / chunk);
  }
  return ForEachZarrChunk(grid_begin, grid_end,
                          [&](absl::Span<const int64_t> index) {
                            return HasChunk(index) ? absl::OkStatus()
                                                   : absl::NotFoundError("");
                          })
      .ok();
}

absl::StatusOr<std::unique_ptr<ZarrStoreWriter>> ZarrStoreWriter::Create(
    const std::string& path, const FolderWriterOptions& options,
    absl::string_view marker) {
  INFLUENCE_ASSIGN_OR_RETURN(std::unique_ptr<FolderWriter> folder,
                             FolderWriter::Create(path, marker, options));
  return std::unique_ptr<ZarrStoreWriter>(
      new ZarrStoreWriter(std::move(folder)));
}

ZarrStoreWriter::ZarrStoreWriter(std::unique_ptr<FolderWriter> folder)
    : folder_(std::move(folder)) {}

absl::Status ZarrStoreWriter::AddNode(const std::string& path,
                                      const std::string& json) {
  absl::Status status = WriteOrCompareNode(path, json);
  if (status.ok() || folder_->finished() || !folder_->FinishedByAnother()) {
    return status;
  }
  // One that shares has completed the store just now.
  return WriteOrCompareNode(path, json);
}

absl::Status ZarrStoreWriter::WriteOrCompareNode(
    const std::string& path, const std::string& json) const {
  const std::string folder = Join(folder_->folder(), path);
  const std::string file = MetadataPath(folder_->folder(), path);
  if (!folder_->finished() && !Exists(file)) {
    if (mkdir(folder.c_str(), 0777) == 0) {
      SyncFolder(ParentFolder(folder));
    } else if (errno != EEXIST) {
      return ErrnoStatus(errno, folder, "to make this folder");
    }
    absl::Status status = WriteFileAtomically(file, json, /*replace=*/false);
    if (status.code() != absl::StatusCode::kAlreadyExists) return status;
  }
  INFLUENCE_ASSIGN_OR_RETURN(const std::string there,
                             ReadFile(file, kMaxMetadataBytes));
  return CheckSame(file, there, json);
}

absl::Status ZarrStoreWriter::AddGroup(const std::string& path,
                                       const ZarrAttributes& attributes) {
  const std::string file = MetadataPath(folder_->folder(), path);
  if (groups_.count(path) != 0 || arrays_.count(path) != 0) {
    return absl::AlreadyExistsError(
        absl::StrCat(file,
                     ": found it in the store already, expected a new "
                     "group"));
  }
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::string json,
      FormatZarrGroup(file, WithComplete(attributes, false)));
  INFLUENCE_RETURN_IF_ERROR(AddNode(path, json));
  groups_.emplace(path, attributes);
  return absl::OkStatus();
}

absl::Status ZarrStoreWriter::SetGroupAttributes(
    const ZarrAttributes& attributes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return AddGroup("", attributes);
}

absl::StatusOr<ZarrArrayWriter*> ZarrStoreWriter::AddArrayAt(
    const std::string& path, ZarrArrayMetadata metadata) {
  const std::string file = MetadataPath(folder_->folder(), path);
  if (groups_.count(path) != 0 || arrays_.count(path) != 0) {
    return absl::AlreadyExistsError(
        absl::StrCat(file,
                     ": found it in the store already, expected a new "
                     "array"));
  }
  ZarrArrayMetadata unfinished = metadata;
  unfinished.attributes = WithComplete(unfinished.attributes, false);
  INFLUENCE_ASSIGN_OR_RETURN(const std::string json,
                             FormatZarrArray(file, unfinished));
  INFLUENCE_RETURN_IF_ERROR(AddNode(path, json));
  auto& array = arrays_[path];
  array.reset(new ZarrArrayWriter(folder_.get(), path, std::move(metadata)));
  return array.get();
}

absl::StatusOr<ZarrArrayWriter*> ZarrStoreWriter::AddArray(
    absl::string_view name, ZarrArrayMetadata metadata) {
  const std::lock_guard<std::mutex> lock(mutex_);
  // Nothing is below an array.
  if (arrays_.count("") != 0) {
    return absl::AlreadyExistsError(absl::StrCat(
        folder_->path(), ": found an array at the root, expected no other"));
  }
  if (name.empty()) return AddArrayAt("", std::move(metadata));
  INFLUENCE_ASSIGN_OR_RETURN(const std::string path, ZarrNodePath(name));
  if (groups_.count("") == 0) {
    INFLUENCE_RETURN_IF_ERROR(AddGroup("", ZarrAttributes::object()));
  }
  for (size_t slash = path.find('/'); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    const std::string group = path.substr(0, slash);
    if (groups_.count(group) != 0) continue;
    INFLUENCE_RETURN_IF_ERROR(AddGroup(group, ZarrAttributes::object()));
  }
  return AddArrayAt(path, std::move(metadata));
}

void ZarrStoreWriter::SetFile(std::string name, std::string contents) {
  const std::lock_guard<std::mutex> lock(mutex_);
  files_[std::move(name)] = std::move(contents);
}

absl::Status ZarrStoreWriter::CheckWhole() const {
  for (const auto& [path, array] : arrays_) {
    const std::optional<std::vector<int64_t>> missing =
        array->FirstMissingChunk();
    if (!missing.has_value()) continue;
    return absl::FailedPreconditionError(
        absl::StrCat(Join(folder_->path(), path),
                     ": found nothing written of "
                     "chunk ",
                     IndexText(*missing), ", expected all of ",
                     array->metadata().ToString()));
  }
  return absl::OkStatus();
}

bool ZarrStoreWriter::IsWhole() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return folder_->FinishedByAnother() || CheckWhole().ok() ||
         folder_->FinishedByAnother();
}

absl::Status ZarrStoreWriter::Seal(const ZarrAttributes& attributes) {
  const std::string folder = folder_->folder();
  const auto final_attributes = [&](const std::string& path,
                                    const ZarrAttributes& own) {
    ZarrAttributes all = own;
    if (path.empty()) {
      for (const auto& [key, value] : attributes.items()) all[key] = value;
    }
    return WithComplete(std::move(all), true);
  };
  for (const auto& [path, array] : arrays_) {
    ZarrArrayMetadata metadata = array->metadata();
    metadata.attributes = final_attributes(path, metadata.attributes);
    const std::string file = MetadataPath(folder, path);
    INFLUENCE_ASSIGN_OR_RETURN(const std::string json,
                               FormatZarrArray(file, metadata));
    INFLUENCE_RETURN_IF_ERROR(WriteFileAtomically(file, json));
  }
  // The root comes last of the groups.
  for (auto group = groups_.rbegin(); group != groups_.rend(); ++group) {
    const std::string file = MetadataPath(folder, group->first);
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::string json,
        FormatZarrGroup(file, final_attributes(group->first, group->second)));
    INFLUENCE_RETURN_IF_ERROR(WriteFileAtomically(file, json));
  }
  for (const auto& [name, contents] : files_) {
    INFLUENCE_RETURN_IF_ERROR(
        WriteFileAtomically(Join(folder, name), contents));
  }
  return absl::OkStatus();
}

absl::Status ZarrStoreWriter::Commit(const ZarrAttributes& attributes) {
  if (!attributes.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder_->path(),
                     ": found attributes that are no JSON "
                     "object, expected one"));
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  if (arrays_.empty() && groups_.empty() && !folder_->finished()) {
    INFLUENCE_RETURN_IF_ERROR(AddGroup("", ZarrAttributes::object()));
  }
  return folder_->Commit([&]() -> absl::Status {
    INFLUENCE_RETURN_IF_ERROR(CheckWhole());
    return Seal(attributes);
  });
}

}  // namespace influence
