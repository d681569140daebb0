// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/output_store.h"

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "calculators/folder_writer.h"
#include "calculators/zarr_format.h"
#include "calculators/zarr_store_writer.h"
#include "cli/interruption.h"
#include "cli/job.h"
#include "cli/options.h"

namespace influence {
namespace {

namespace fs = std::filesystem;

// An unfinished run has left more in `folder` than descriptions of what it was
// about to do: a chunk, statistics of a fit.
bool HasWork(const std::string& folder) {
  std::error_code error;
  fs::recursive_directory_iterator files(folder, error);
  for (; !error && files != fs::recursive_directory_iterator();
       files.increment(error)) {
    std::error_code ignored;
    if (!files->is_regular_file(ignored)) continue;
    const std::string name = files->path().filename().string();
    if (name[0] != '.' && name != kZarrMetadataFile && name != "run.json") {
      return true;
    }
  }
  return false;
}

}  // namespace

absl::Status InWordsOfOptions(const OutputOptions& options,
                              const absl::Status& status) {
  std::error_code error;
  if (status.code() != absl::StatusCode::kAlreadyExists || options.overwrite ||
      !fs::exists(options.out, error)) {
    return status;
  }
  const bool is_folder = fs::is_directory(options.out, error);
  if (is_folder == absl::EndsWith(options.out, ".npy")) return status;
  return absl::AlreadyExistsError(absl::StrCat(
      options.out, ": found an existing ", is_folder ? "folder" : "file",
      ", expected none, or --overwrite"));
}

absl::StatusOr<std::unique_ptr<OutputStore>> OutputStore::Open(
    const OutputOptions& options, absl::string_view marker) {
  std::unique_ptr<OutputStore> store(new OutputStore(options));
  if (absl::Status status = store->Open(marker); !status.ok()) {
    return InWordsOfOptions(options, status);
  }
  return store;
}

absl::Status OutputStore::Open(absl::string_view marker) {
  const std::shared_ptr<Communicator> job = Job();
  if (job->size() == 1) {
    return OpenAs(marker, options_.shard.has_value());
  }
  // One rank sees, like a process of its own, whether the place is free, and
  // makes it so; then all go on there.
  if (IsFirstRank()) {
    INFLUENCE_RETURN_IF_ERROR(OpenAs(marker, /*shared=*/false));
    writer_ = nullptr;
    guard_ = nullptr;
    kept_ = false;
  }
  INFLUENCE_RETURN_IF_ERROR(job->Barrier());
  return OpenAs(marker, /*shared=*/true);
}

absl::Status OutputStore::OpenAs(absl::string_view marker, bool shared) {
  FolderWriterOptions folder;
  folder.overwrite = options_.overwrite;
  folder.shared = shared;
  const bool goes_on = options_.resume || folder.shared;
  if (goes_on) {
    folder.unfinished = UnfinishedRun::kContinue;
  } else if (options_.overwrite) {
    folder.unfinished = UnfinishedRun::kDiscard;
  }
  const auto open = [&]() -> absl::StatusOr<std::string> {
    INFLUENCE_ASSIGN_OR_RETURN(
        writer_, ZarrStoreWriter::Create(options_.out, folder, marker));
    return writer_->folder();
  };
  const std::string unfinished = absl::StrCat(options_.out, ".incomplete");
  const bool has_work = HasWork(unfinished);
  absl::StatusOr<std::unique_ptr<InterruptibleFile>> guard =
      InterruptibleFile::Create(open);
  std::error_code error;
  if (guard.status().code() == absl::StatusCode::kAlreadyExists &&
      folder.unfinished == UnfinishedRun::kRefuse &&
      !fs::exists(options_.out, error) &&
      fs::exists(absl::StrCat(unfinished, "/.lock"), error)) {
    if (has_work) {
      return absl::AlreadyExistsError(absl::StrCat(
          unfinished,
          ": found what an unfinished run has left, expected nothing, or "
          "--resume to go on with it, or --overwrite to start anew"));
    }
    folder.unfinished = UnfinishedRun::kDiscard;
    guard = InterruptibleFile::Create(open);
  }
  INFLUENCE_RETURN_IF_ERROR(guard.status());
  guard_ = *std::move(guard);
  if (goes_on && (has_work || folder.shared)) Keep();
  return absl::OkStatus();
}

void OutputStore::Keep() {
  if (kept_.exchange(true)) return;
  writer_->set_keep_unfinished(true);
  guard_->Keep();
}

absl::Status OutputStore::Explain(const absl::Status& status) const {
  if (status.ok() || !kept_ || status.code() == absl::StatusCode::kDataLoss ||
      status.code() == absl::StatusCode::kFailedPrecondition) {
    return status;
  }
  return absl::Status(
      status.code(),
      absl::StrCat(status.message(), " (what is done stays in ",
                   writer_->folder(), ", for --resume to go on with)"));
}

}  // namespace influence
