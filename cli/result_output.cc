// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/result_output.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "base/validators.h"
#include "calculators/folder_writer.h"
#include "calculators/npy_file.h"
#include "calculators/zarr_format.h"
#include "calculators/zarr_store_writer.h"
#include "cli/interruption.h"
#include "cli/options.h"

namespace influence {
namespace {

namespace fs = std::filesystem;

// What a writer says of an output that exists, in the words of this tool.
absl::Status InWordsOfOptions(const OutputOptions& options,
                              const absl::Status& status) {
  std::error_code error;
  if (status.code() != absl::StatusCode::kAlreadyExists || options.overwrite ||
      !fs::exists(options.out, error)) {
    return status;
  }
  const bool is_folder = fs::is_directory(options.out, error);
  if (is_folder != IsZarrPath(options.out)) return status;
  return absl::AlreadyExistsError(absl::StrCat(
      options.out, ": found an existing ", is_folder ? "folder" : "file",
      ", expected none, or --overwrite"));
}

// `outer` is `inner` or a folder above it.
bool Contains(const fs::path& outer, const fs::path& inner) {
  std::error_code error;
  fs::path path = fs::weakly_canonical(fs::absolute(inner), error);
  while (!error) {
    std::error_code ignored;
    if (fs::equivalent(outer, path, ignored)) return true;
    const fs::path parent = path.parent_path();
    if (parent == path) break;
    path = parent;
  }
  return false;
}

}  // namespace

bool IsZarrPath(absl::string_view path) {
  return absl::EndsWith(path, ".zarr");
}

absl::Status RefuseToOverwriteInputs(const OutputOptions& options,
                                     const std::vector<std::string>& inputs) {
  std::error_code error;
  if (!fs::exists(options.out, error)) return absl::OkStatus();
  for (const std::string& input : inputs) {
    if (input.empty()) continue;
    if (!Contains(input, options.out) && !Contains(options.out, input)) {
      continue;
    }
    return absl::AlreadyExistsError(
        absl::StrCat(options.out,
                     ": found an input of this run, expected another path for "
                     "--out"));
  }
  return absl::OkStatus();
}

absl::Status ResultOutput::Check(const OutputOptions& options) {
  if (IsZarrPath(options.out)) {
    return Create(options, at::kFloat, {}).status();
  }
  return Create(options, at::kFloat, {{"", {1}, {1}}}).status();
}

absl::StatusOr<std::unique_ptr<ResultOutput>> ResultOutput::Create(
    const OutputOptions& options, at::ScalarType dtype,
    const std::vector<ResultArray>& arrays) {
  std::unique_ptr<ResultOutput> output(new ResultOutput);
  output->options_ = options;
  output->dtype_ = dtype;
  absl::StatusOr<std::unique_ptr<InterruptibleFile>> guard =
      InterruptibleFile::Create([&]() -> absl::StatusOr<std::string> {
        if (!IsZarrPath(options.out)) {
          INFLUENCE_CHECK(arrays.size() == 1);
          INFLUENCE_ASSIGN_OR_RETURN(
              output->npy_, NpyWriter::Create(options.out, arrays[0].shape,
                                              dtype, options.overwrite));
          return output->npy_->temporary_path();
        }
        FolderWriterOptions folder;
        folder.overwrite = options.overwrite;
        // Of a run that was killed: nothing goes on with it.
        folder.unfinished = UnfinishedRun::kDiscard;
        INFLUENCE_ASSIGN_OR_RETURN(
            output->store_, ZarrStoreWriter::Create(options.out, folder));
        return output->store_->folder();
      });
  if (!guard.ok()) return InWordsOfOptions(options, guard.status());
  output->guard_ = *std::move(guard);
  if (output->store_ == nullptr) return output;
  const int64_t item_size = dtype == at::kDouble ? 8 : 4;
  for (const ResultArray& array : arrays) {
    ZarrArrayMetadata metadata;
    metadata.shape = array.shape;
    metadata.chunk_shape =
        ZarrChunkShapeForTiles(array.shape, array.tile, item_size);
    metadata.dtype = dtype;
    INFLUENCE_ASSIGN_OR_RETURN(
        ZarrArrayWriter* const writer,
        output->store_->AddArray(array.name, std::move(metadata)));
    output->arrays_.push_back(writer);
  }
  return output;
}

absl::Status ResultOutput::Write(size_t array, absl::Span<const int64_t> begin,
                                 const at::Tensor& values, double scale) {
  INFLUENCE_RETURN_IF_ERROR(ValidateFinite("result", values));
  const at::Tensor scaled = scale == 1 ? values : values.mul(scale);
  if (store_ != nullptr) return arrays_[array]->Write(begin, scaled);
  if (begin.size() == 1) return npy_->WriteRows(begin[0], scaled);
  return npy_->WriteTile(begin[0], begin[1], scaled);
}

absl::Status ResultOutput::Commit(const ZarrAttributes& attributes) {
  return InWordsOfOptions(options_, store_ != nullptr
                                        ? store_->Commit(attributes)
                                        : npy_->Commit());
}

}  // namespace influence
