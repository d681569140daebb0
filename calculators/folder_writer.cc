// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/folder_writer.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "calculators/atomic_file.h"

namespace influence {
namespace {

namespace fs = std::filesystem;

// Held while the folder is written; its absence marks a folder that has been
// replaced, or has just been made.
constexpr absl::string_view kLockFile = ".lock";
// Held by the one that commits.
constexpr absl::string_view kCommitFile = ".commit";
// Of notes.
constexpr absl::string_view kNotesFolder = ".run";
constexpr int64_t kMaxNoteBytes = int64_t{1} << 30;

std::string WithoutSlashes(absl::string_view path) {
  while (path.size() > 1 && absl::ConsumeSuffix(&path, "/")) {
  }
  return std::string(path);
}

bool Exists(const std::string& path) {
  struct stat status;
  return lstat(path.c_str(), &status) == 0;
}

// The descriptor is that of the file which now has the name `path`.
bool IsStillAt(int descriptor, const std::string& path) {
  struct stat open_file;
  struct stat named;
  return fstat(descriptor, &open_file) == 0 &&
         stat(path.c_str(), &named) == 0 && open_file.st_ino == named.st_ino &&
         open_file.st_dev == named.st_dev;
}

// flock() that an interruption does not end. A file system without locks counts
// as locked: true.
bool Lock(int descriptor, int operation) {
  int result = 0;
  do {
    result = flock(descriptor, operation);
  } while (result != 0 && errno == EINTR);
  return result == 0 || errno != EWOULDBLOCK;
}

// Removes a folder and what is in it, or a link to one. Files that have gone
// meanwhile are no error.
void RemoveFolder(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
}

// The lock on the folder that holds `path`, while this object lives: waits for
// it. None where there are no locks, or where some other program does not let
// go of it.
class FolderAboveLock {
 public:
  explicit FolderAboveLock(const std::string& path)
      : descriptor_(open(ParentFolder(path).c_str(),
                         O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    constexpr absl::Duration kPatience = absl::Minutes(1);
    const absl::Time deadline = absl::Now() + kPatience;
    while (descriptor_ >= 0 && !Lock(descriptor_, LOCK_EX | LOCK_NB) &&
           absl::Now() < deadline) {
      absl::SleepFor(absl::Milliseconds(1));
    }
  }

  // A child of fork() may have the descriptor as well.
  ~FolderAboveLock() {
    if (descriptor_ < 0) return;
    Lock(descriptor_, LOCK_UN);
    close(descriptor_);
  }

  FolderAboveLock(const FolderAboveLock&) = delete;
  FolderAboveLock& operator=(const FolderAboveLock&) = delete;

 private:
  const int descriptor_;
};

// There is nothing in `folder` but a lock and temporary files.
bool IsAsGoodAsEmpty(const std::string& folder) {
  std::error_code error;
  for (fs::directory_iterator entries(folder, error);
       !error && entries != fs::directory_iterator();
       entries.increment(error)) {
    const std::string name = entries->path().filename().string();
    if (name != kLockFile && !IsTemporaryName(name)) return false;
  }
  return !error;
}

// Removes what is in `folder` but for the lock.
absl::Status EmptyFolder(const std::string& folder) {
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  for (; !error && entries != fs::directory_iterator();
       entries.increment(error)) {
    if (entries->path().filename() == std::string(kLockFile)) continue;
    fs::remove_all(entries->path(), error);
    if (error) break;
  }
  if (!error) return absl::OkStatus();
  return ErrnoStatus(error.value(), folder,
                     "to remove what an unfinished run has left");
}

// Files that a crash has left. In subfolders too; errors are let be, since
// nothing takes these files for anything.
void RemoveTemporaryFiles(const std::string& folder) {
  std::error_code error;
  fs::recursive_directory_iterator entries(folder, error);
  for (; !error && entries != fs::recursive_directory_iterator();
       entries.increment(error)) {
    if (!IsTemporaryName(entries->path().filename().string())) continue;
    std::error_code ignored;
    fs::remove(entries->path(), ignored);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<FolderWriter>> FolderWriter::Create(
    const std::string& path, absl::string_view marker,
    const FolderWriterOptions& options) {
  std::string target = WithoutSlashes(path);
  const std::string name = BaseName(target);
  if (name.empty() || name == "." || name == "..") {
    return absl::InvalidArgumentError(
        absl::StrCat("output path: found \"", path,
                     "\", expected the name of a folder to be made"));
  }
  if (options.shared && options.unfinished != UnfinishedRun::kContinue) {
    return absl::InvalidArgumentError(
        "shared: found it with an unfinished run that is not continued, "
        "expected UnfinishedRun::kContinue");
  }
  std::unique_ptr<FolderWriter> writer(
      new FolderWriter(std::move(target), std::string(marker), options));
  constexpr int kAttempts = 200;
  for (int attempt = 1; attempt <= kAttempts; ++attempt) {
    bool retry = false;
    {
      const FolderAboveLock lock(writer->path_);
      INFLUENCE_RETURN_IF_ERROR(writer->Open(attempt == kAttempts, retry));
    }
    if (!retry) return writer;
    absl::SleepFor(absl::Milliseconds(10));
  }
  return absl::UnavailableError(
      absl::StrCat(writer->incomplete_,
                   ": found it changing under several processes, expected one "
                   "to finish"));
}

FolderWriter::FolderWriter(std::string path, std::string marker,
                           FolderWriterOptions options)
    : path_(std::move(path)),
      incomplete_(absl::StrCat(path_, ".incomplete")),
      marker_(std::move(marker)),
      options_(options) {
  const std::lock_guard<std::mutex> lock(mutex_);
  keep_ = options.keep_unfinished || options.shared;
}

absl::Status FolderWriter::CheckTarget() const {
  struct stat status;
  if (lstat(path_.c_str(), &status) != 0) {
    if (errno == ENOENT) return absl::OkStatus();
    return ErrnoStatus(errno, path_, "a path that can be looked up");
  }
  if (stat(path_.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
    return absl::AlreadyExistsError(
        absl::StrCat(path_, ": found a file, expected a folder or nothing"));
  }
  if (!Exists(absl::StrCat(path_, "/", marker_))) {
    return absl::AlreadyExistsError(
        absl::StrCat(path_, ": found a folder without ", marker_,
                     ", expected an output of this kind or nothing"));
  }
  if (!options_.overwrite) {
    return absl::AlreadyExistsError(absl::StrCat(
        path_,
        ": found an existing output, expected none (or overwriting to be "
        "asked for)"));
  }
  return absl::OkStatus();
}

bool FolderWriter::FindFinished() {
  if (options_.unfinished != UnfinishedRun::kContinue || options_.overwrite ||
      !Exists(absl::StrCat(path_, "/", marker_))) {
    return false;
  }
  RemoveTraces();
  // What this output has replaced, if a crash came then.
  if (!Exists(absl::StrCat(incomplete_, "/", kLockFile)) &&
      (Exists(absl::StrCat(incomplete_, "/", marker_)) ||
       IsAsGoodAsEmpty(incomplete_))) {
    RemoveFolder(incomplete_);
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  finished_ = true;
  return true;
}

absl::Status FolderWriter::Open(bool last, bool& retry) {
  if (FindFinished()) return absl::OkStatus();
  INFLUENCE_RETURN_IF_ERROR(CheckTarget());

  const bool made = mkdir(incomplete_.c_str(), 0777) == 0;
  if (!made && errno != EEXIST) {
    return ErrnoStatus(errno, path_,
                       absl::StrCat("a writable folder ", ParentFolder(path_)));
  }
  const std::string lock_path = absl::StrCat(incomplete_, "/", kLockFile);

  // The lock file is locked before it has its name, so that whoever finds it
  // finds it in use.
  std::string temporary_path;
  absl::StatusOr<int> fresh = OpenTemporaryFile(lock_path, temporary_path);
  if (!fresh.ok()) {
    if (fresh.status().code() == absl::StatusCode::kNotFound) {
      retry = true;  // Committed, or removed, by another.
      return absl::OkStatus();
    }
    return fresh.status();
  }
  int descriptor = *fresh;
  auto close_it = absl::MakeCleanup([&] {
    if (descriptor >= 0) close(descriptor);
  });
  Lock(descriptor, LOCK_EX | LOCK_NB);
  const absl::Status named =
      Rename(temporary_path, lock_path, /*replace=*/false);
  if (named.ok()) {
    INFLUENCE_RETURN_IF_ERROR(SetUpFresh(descriptor, lock_path, retry));
  } else {
    unlink(temporary_path.c_str());
    if (named.code() != absl::StatusCode::kAlreadyExists) {
      retry = named.code() == absl::StatusCode::kNotFound;
      return retry ? absl::OkStatus() : named;
    }
    close(descriptor);
    descriptor = open(lock_path.c_str(), O_RDWR | O_CLOEXEC);
    if (descriptor < 0) {
      const int error = errno;
      retry = error == ENOENT;
      return retry ? absl::OkStatus()
                   : ErrnoStatus(error, lock_path, "a writable file");
    }
    INFLUENCE_RETURN_IF_ERROR(Join(descriptor, lock_path, last, retry));
  }
  if (retry) return absl::OkStatus();
  SyncFolder(incomplete_);
  SyncFolder(ParentFolder(path_));
  std::move(close_it).Cancel();
  lock_ = descriptor;
  return absl::OkStatus();
}

absl::Status FolderWriter::SetUpFresh(int descriptor,
                                      const std::string& lock_path,
                                      bool& retry) {
  // Where steps are not kept apart: another may have published between the look
  // at the target and the making of the folder.
  if (absl::Status target = CheckTarget(); !target.ok()) {
    unlink(lock_path.c_str());
    rmdir(incomplete_.c_str());
    retry = options_.unfinished == UnfinishedRun::kContinue;
    return retry ? absl::OkStatus() : target;
  }
  // Nobody was at work here: what is there is the old output, left between
  // two steps of a Commit(), which has published the new one. Or it is none
  // of ours.
  if (!Exists(absl::StrCat(incomplete_, "/", marker_)) &&
      !IsAsGoodAsEmpty(incomplete_)) {
    unlink(lock_path.c_str());
    return absl::AlreadyExistsError(
        absl::StrCat(incomplete_, ": found a folder without ", marker_,
                     ", expected nothing: it is used for unfinished output"));
  }
  INFLUENCE_RETURN_IF_ERROR(EmptyFolder(incomplete_));
  if (options_.shared) Lock(descriptor, LOCK_SH | LOCK_NB);
  return absl::OkStatus();
}

absl::Status FolderWriter::Join(int descriptor, const std::string& lock_path,
                                bool last, bool& retry) {
  const int operation = (options_.shared ? LOCK_SH : LOCK_EX) | LOCK_NB;
  if (!Lock(descriptor, operation)) {
    // One that shares as well may be setting the folder up.
    retry = options_.shared && !last;
    if (retry) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat(path_, ": found another process writing it (", lock_path,
                     "), expected none"));
  }
  if (!IsStillAt(descriptor, lock_path)) {
    retry = true;
    return absl::OkStatus();
  }
  switch (options_.unfinished) {
    case UnfinishedRun::kRefuse:
      return absl::AlreadyExistsError(
          absl::StrCat(incomplete_,
                       ": found what an unfinished run has left, expected "
                       "nothing (or to go on with it, or to replace it)"));
    case UnfinishedRun::kContinue:
      // Files of others who share may be in the making.
      if (!options_.shared) RemoveTemporaryFiles(incomplete_);
      break;
    case UnfinishedRun::kDiscard:
      INFLUENCE_RETURN_IF_ERROR(EmptyFolder(incomplete_));
      break;
  }
  return absl::OkStatus();
}

FolderWriter::~FolderWriter() {
  if (lock_ < 0) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!finished_ && !keep_) {
    const FolderAboveLock above(path_);
    if (IsStillAt(lock_, absl::StrCat(incomplete_, "/", kLockFile))) {
      RemoveFolder(incomplete_);
    }
  }
  close(lock_);
}

std::string FolderWriter::folder() const {
  return finished() ? path_ : incomplete_;
}

bool FolderWriter::finished() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return finished_;
}

void FolderWriter::set_keep_unfinished(bool keep) {
  const std::lock_guard<std::mutex> lock(mutex_);
  keep_ = keep || options_.shared;
}

bool FolderWriter::FinishedByAnother() {
  const std::lock_guard<std::mutex> lock(mutex_);
  const std::string lock_path = absl::StrCat(incomplete_, "/", kLockFile);
  if (finished_ || !options_.shared || IsStillAt(lock_, lock_path)) {
    return finished_;
  }
  const FolderAboveLock above(path_);  // Not in the middle of publishing.
  finished_ =
      !IsStillAt(lock_, lock_path) && Exists(absl::StrCat(path_, "/", marker_));
  return finished_;
}

absl::Status FolderWriter::Commit(absl::FunctionRef<absl::Status()> seal) {
  if (FinishedByAnother()) return absl::OkStatus();
  const std::string commit_path = absl::StrCat(incomplete_, "/", kCommitFile);
  const int commit =
      open(commit_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (commit < 0) {
    const int error = errno;
    if (FinishedByAnother()) return absl::OkStatus();
    return ErrnoStatus(error, commit_path, "a writable file");
  }
  const auto close_it = absl::MakeCleanup([&] { close(commit); });
  Lock(commit, LOCK_EX);
  // Whoever held the lock before may have committed.
  if (FinishedByAnother()) return absl::OkStatus();
  INFLUENCE_RETURN_IF_ERROR(seal());
  RemoveTemporaryFiles(incomplete_);
  SyncFolder(incomplete_);
  {
    const FolderAboveLock above(path_);
    INFLUENCE_RETURN_IF_ERROR(Publish());
  }
  RemoveTraces();
  SyncFolder(path_);
  const std::lock_guard<std::mutex> lock(mutex_);
  finished_ = true;
  return absl::OkStatus();
}

void FolderWriter::RemoveTraces() {
  // Of others who were writing what is there already.
  RemoveTemporaryFiles(path_);
  RemoveFolder(absl::StrCat(path_, "/", kNotesFolder));
  unlink(absl::StrCat(path_, "/", kCommitFile).c_str());
  unlink(absl::StrCat(path_, "/", kLockFile).c_str());
}

absl::StatusOr<std::string> FolderWriter::NotePath(absl::string_view name) {
  const std::string notes = absl::StrCat(folder(), "/", kNotesFolder);
  if (finished()) {
    return absl::FailedPreconditionError(
        absl::StrCat(notes,
                     ": found the output complete already, expected no "
                     "more notes"));
  }
  if (mkdir(notes.c_str(), 0777) == 0) {
    SyncFolder(folder());
  } else if (errno != EEXIST) {
    return ErrnoStatus(errno, notes, "to make this folder");
  }
  return absl::StrCat(notes, "/", name);
}

absl::Status FolderWriter::WriteNote(absl::string_view name,
                                     absl::string_view bytes, bool replace) {
  if (finished()) return NotePath(name).status();
  absl::Status status = [&]() -> absl::Status {
    INFLUENCE_ASSIGN_OR_RETURN(const std::string path, NotePath(name));
    return WriteFileAtomically(path, bytes, replace);
  }();
  if (!status.ok() && status.code() != absl::StatusCode::kAlreadyExists &&
      FinishedByAnother()) {
    return absl::OkStatus();
  }
  return status;
}

absl::StatusOr<std::optional<std::string>> FolderWriter::ReadNote(
    absl::string_view name) const {
  absl::StatusOr<std::string> note = ReadFile(
      absl::StrCat(folder(), "/", kNotesFolder, "/", name), kMaxNoteBytes);
  if (note.status().code() == absl::StatusCode::kNotFound) return std::nullopt;
  if (!note.ok()) return note.status();
  return *std::move(note);
}

absl::Status FolderWriter::Publish() {
  // Others may have made something at the path since Create().
  INFLUENCE_RETURN_IF_ERROR(CheckTarget());
  const std::string parent = ParentFolder(path_);
  if (Exists(path_)) {
    // There only if a crash came between the steps of an earlier Commit(); it
    // would make the folder look like an unfinished run below.
    unlink(absl::StrCat(path_, "/", kLockFile).c_str());
    const int result = renameat2(AT_FDCWD, incomplete_.c_str(), AT_FDCWD,
                                 path_.c_str(), RENAME_EXCHANGE);
    if (result == 0) {
      // What was replaced now has the other name, and no lock file.
      SyncFolder(parent);
      RemoveFolder(incomplete_);
      SyncFolder(parent);
      return absl::OkStatus();
    }
    if (errno != EINVAL && errno != ENOSYS) {
      return ErrnoStatus(errno, path_, "to be replaced");
    }
    // This file system cannot exchange names.
    const std::string old = TemporaryPath(path_);
    INFLUENCE_RETURN_IF_ERROR(Rename(path_, old, /*replace=*/false));
    if (absl::Status status = Rename(incomplete_, path_, /*replace=*/false);
        !status.ok()) {
      rename(old.c_str(), path_.c_str());
      return status;
    }
    RemoveFolder(old);
  } else {
    INFLUENCE_RETURN_IF_ERROR(Rename(incomplete_, path_, /*replace=*/false));
  }
  SyncFolder(parent);
  return absl::OkStatus();
}

}  // namespace influence
