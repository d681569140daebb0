// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// An output that is a folder and appears whole or not at all. Until Commit()
// its files go into "<path>.incomplete"; Commit() gives that folder the name
// "<path>" in one step. So what has the name is complete, an output that is
// replaced stays untouched until the new one is whole, and what an unfinished
// run has left can be told from a result, and gone on with.
//
//   INFLUENCE_ASSIGN_OR_RETURN(
//       const auto writer, FolderWriter::Create("scores.zarr", options));
//   ... write files into writer->folder() ...
//   INFLUENCE_RETURN_IF_ERROR(writer->Commit());
//
// What a run wants to find again if it is gone on with, and the output is not
// to have, it writes as notes: files in a hidden folder that Commit() removes.
//
// A lock on the unfinished folder keeps a second process away, or lets several
// in that have all asked to share; the system releases it with its owner's last
// breath, whatever it dies of. (On a file system without locks there is none.)
//
// The protocol. There are three states:
//
//   nothing      neither name, or only "<path>", an output that is complete
//   unfinished   "<path>.incomplete" with the file .lock in it
//   left over    "<path>.incomplete" without .lock: a crash came while it was
//                made, or while the output that it was replaced by took its
//                name
//
// Four steps change the state. Each of them is taken with an exclusive lock on
// the folder that has both names, so that of any two one comes first:
//
//   open      looks for a complete output at "<path>"; only where there is
//             none, or it is to be replaced, makes "<path>.incomplete" and
//             .lock, or joins what is there by a lock on .lock. What is left
//             over is removed.
//   publish   gives the unfinished folder the name "<path>". Taken only by one
//             that has joined and holds the lock on the file .commit, and only
//             while the folder it has joined has the name "<path>.incomplete".
//   abandon   removes the unfinished folder. Taken only by its single owner.
//   look      at whether one that shares has published.
//
// Hence a writer that starts while another completes is either first, and joins
// the folder that then becomes the output, or second, and finds the output: it
// never makes the folder again. Chunks are written without the lock, each under
// a temporary name first. One that is written before CheckWhole() of the one
// that publishes is in the output; one that comes later was there already, or
// the output would not have been whole, and is not written again. A process
// that is killed releases its locks; what it leaves is one of the three states,
// temporary files, which the next step removes, or .lock, .commit and notes in
// a complete output, which the next one that opens it removes.
//
// On a file system without locks the steps are not kept apart; a writer then
// looks once more after it has made the folder, and takes it away again.
#ifndef INFLUENCE_CALCULATORS_FOLDER_WRITER_H_
#define INFLUENCE_CALCULATORS_FOLDER_WRITER_H_

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace influence {

// What to do with the files that an unfinished run has left.
enum class UnfinishedRun {
  kRefuse,    // kAlreadyExists.
  kContinue,  // Keep them. Nothing there is no error.
  kDiscard,   // Remove them.
};

struct FolderWriterOptions {
  // Replace a folder at the path, in one step at the end.
  bool overwrite = false;

  UnfinishedRun unfinished = UnfinishedRun::kRefuse;

  // Other processes that share may write other files into the same folder at
  // the same time, on one machine or several. Needs kContinue. Each calls
  // Commit() when nothing is missing; the first one commits for all.
  bool shared = false;

  // Leave the unfinished folder where it is if Commit() has not succeeded.
  // Always so for one that is shared.
  bool keep_unfinished = false;
};

// Thread-safe.
class FolderWriter {
 public:
  // `marker`: a file that every output of this kind has ("zarr.json"). A folder
  // without it is never replaced, whatever the options: it is somebody's data.
  //
  // kAlreadyExists if there is something at `path` that may not be replaced, or
  // an unfinished run that is neither continued nor discarded;
  // kFailedPrecondition if another process is writing it; kPermissionDenied,
  // kNotFound or the like if the folder cannot be made.
  //
  // With kContinue and without `overwrite`, a complete output at `path` is no
  // error: see finished().
  static absl::StatusOr<std::unique_ptr<FolderWriter>> Create(
      const std::string& path, absl::string_view marker,
      const FolderWriterOptions& options);

  // Removes the unfinished folder, unless it is to be kept.
  ~FolderWriter();
  FolderWriter(const FolderWriter&) = delete;
  FolderWriter& operator=(const FolderWriter&) = delete;

  // The name of the output, without a slash at its end.
  const std::string& path() const { return path_; }

  // As in the options.
  bool shared() const { return options_.shared; }

  // Where the files are: path() if finished(), else "<path>.incomplete".
  std::string folder() const;

  // The output is complete: found so, or made so by Commit() of this or of
  // another process.
  bool finished() const;

  // Makes `bytes` the contents of the note `name`, a name of letters, digits,
  // dots, dashes and underscores; whole or not at all. Without `replace`
  // kAlreadyExists if there is one: of several processes one is the first.
  // kFailedPrecondition if finished(). Nobody needs the note, and it is no
  // error, where another process that shares commits meanwhile.
  absl::Status WriteNote(absl::string_view name, absl::string_view bytes,
                         bool replace = true);

  // The note `name` of this or an earlier run; nothing if there is none.
  absl::StatusOr<std::optional<std::string>> ReadNote(
      absl::string_view name) const;

  // A path for a folder of notes: where `name` would be. Makes the folder above
  // it.
  absl::StatusOr<std::string> NotePath(absl::string_view name);

  // Looks whether another process that shares has committed meanwhile.
  bool FinishedByAnother();

  // Calls `seal`, which writes what marks the output as complete into folder(),
  // removes temporary files and notes, and gives the folder its name. Of
  // several processes one at a time is in here; when the output is finished()
  // already, `seal` is not called. kAlreadyExists if something appeared at the
  // path meanwhile and not `overwrite`; errors of `seal`.
  absl::Status Commit(absl::FunctionRef<absl::Status()> seal);

  // Keeps the unfinished folder from here on, or removes it in the end.
  void set_keep_unfinished(bool keep);

 private:
  FolderWriter(std::string path, std::string marker,
               FolderWriterOptions options);

  // Makes or joins the unfinished folder. Sets `retry` where another process
  // came between and this is not the last attempt. With the lock on the folder
  // above, as what follows but for RemoveTraces().
  absl::Status Open(bool last, bool& retry);

  // Whether there is a complete output that ends the matter; removes what a
  // crash has left.
  bool FindFinished();

  // What Open() does with .lock in its hands: its own, fresh one or that of
  // others. `retry` as of Open().
  absl::Status SetUpFresh(int descriptor, const std::string& lock_path,
                          bool& retry);
  absl::Status Join(int descriptor, const std::string& lock_path, bool last,
                    bool& retry);

  absl::Status CheckTarget() const;

  // Puts the folder in the target's place.
  absl::Status Publish();

  // Removes locks, notes and temporary files from a complete output, where a
  // crash may have left them. Nothing there is no error, nor is a folder that
  // cannot be written.
  void RemoveTraces();

  const std::string path_;
  const std::string incomplete_;
  const std::string marker_;
  const FolderWriterOptions options_;
  int lock_ = -1;  // A descriptor; -1 if finished from the start.

  mutable std::mutex mutex_;  // Guards what follows.
  bool finished_ = false;
  bool keep_ = false;
};

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_FOLDER_WRITER_H_
