// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/folder_writer.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "calculators/atomic_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/without_root_privileges.h"

namespace influence {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

std::vector<std::string> Names(const std::string& folder) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename());
  }
  return names;
}

absl::Status Nothing() { return absl::OkStatus(); }

class FolderWriterTest : public ::testing::Test {
 protected:
  FolderWriterTest()
      : folder_(fs::path(::testing::TempDir()) /
                absl::StrCat("folder_writer_test.", getpid())),
        path_(folder_ / "out") {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~FolderWriterTest() override {
    fs::permissions(folder_, fs::perms::owner_all);
    fs::remove_all(folder_);
  }

  absl::StatusOr<std::unique_ptr<FolderWriter>> Create(
      const FolderWriterOptions& options = {}) {
    return FolderWriter::Create(path_, "marker", options);
  }

  // An output with the marker saying `contents`.
  void Make(const std::string& contents) {
    fs::create_directories(path_);
    INFLUENCE_ASSERT_OK(WriteFileAtomically(path_ + "/marker", contents));
  }

  std::string Marker() { return ReadFile(path_ + "/marker", 100).value(); }

  fs::path folder_;
  std::string path_;
};

TEST_F(FolderWriterTest, AppearsWhenItIsCommitted) {
  {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto writer, Create());
    EXPECT_EQ(writer->folder(), path_ + ".incomplete");
    EXPECT_FALSE(writer->finished());
    INFLUENCE_ASSERT_OK(WriteFileAtomically(writer->folder() + "/a", "1"));
    EXPECT_FALSE(fs::exists(path_));
    INFLUENCE_ASSERT_OK(writer->Commit([&] {
      return WriteFileAtomically(writer->folder() + "/marker", "new");
    }));
    EXPECT_TRUE(writer->finished());
    EXPECT_EQ(writer->folder(), path_);
  }
  EXPECT_EQ(Marker(), "new");
  EXPECT_THAT(Names(path_), UnorderedElementsAre("a", "marker"));
  EXPECT_THAT(Names(folder_), ElementsAre("out"));
}

TEST_F(FolderWriterTest, TakesASlashAtTheEnd) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto writer, FolderWriter::Create(path_ + "//", "marker", {}));
  EXPECT_EQ(writer->path(), path_);
}

TEST_F(FolderWriterTest, LeavesNothingWithoutCommit) {
  {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto writer, Create());
    INFLUENCE_ASSERT_OK(WriteFileAtomically(writer->folder() + "/a", "1"));
  }
  EXPECT_THAT(Names(folder_), IsEmpty());
}

TEST_F(FolderWriterTest, LeavesNothingWhereSealingFails) {
  {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto writer, Create());
    EXPECT_THAT(writer->Commit([] { return absl::InternalError("no"); }),
                StatusIs(absl::StatusCode::kInternal, "no"));
    EXPECT_FALSE(writer->finished());
  }
  EXPECT_THAT(Names(folder_), IsEmpty());
}

TEST_F(FolderWriterTest, KeepsTheOldOutputUntilTheNewOneIsWhole) {
  Make("old");
  EXPECT_THAT(Create(), StatusIs(absl::StatusCode::kAlreadyExists,
                                 StartsWith(path_ + ": found an existing")));
  {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto writer,
                                   Create({.overwrite = true}));
    EXPECT_EQ(Marker(), "old");
  }
  EXPECT_EQ(Marker(), "old");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto writer,
                                 Create({.overwrite = true}));
  INFLUENCE_ASSERT_OK(WriteFileAtomically(writer->folder() + "/marker", "new"));
  EXPECT_EQ(Marker(), "old");
  INFLUENCE_ASSERT_OK(writer->Commit(Nothing));
  EXPECT_EQ(Marker(), "new");
  EXPECT_THAT(Names(folder_), ElementsAre("out"));
}

TEST_F(FolderWriterTest, NeverReplacesWhatIsNoOutput) {
  fs::create_directories(path_);
  INFLUENCE_ASSERT_OK(WriteFileAtomically(path_ + "/thesis.tex", "years"));
  EXPECT_THAT(
      Create({.overwrite = true}),
      StatusIs(absl::StatusCode::kAlreadyExists,
               HasSubstr("found a folder without marker, expected an output")));
  fs::remove_all(path_);
  INFLUENCE_ASSERT_OK(WriteFileAtomically(path_, "a file"));
  EXPECT_THAT(Create({.overwrite = true}),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       HasSubstr("found a file, expected a folder")));
}

TEST_F(FolderWriterTest, RefusesWhatAppearedMeanwhile) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto writer, Create());
  Make("other");
  EXPECT_THAT(writer->Commit(Nothing),
              StatusIs(absl::StatusCode::kAlreadyExists, StartsWith(path_)));
  EXPECT_EQ(Marker(), "other");
}

TEST_F(FolderWriterTest, GoesOnWithAnUnfinishedRun) {
  {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto writer,
                                   Create({.keep_unfinished = true}));
    INFLUENCE_ASSERT_OK(WriteFileAtomically(writer->folder() + "/a", "1"));
    // What a crash leaves of a file in the making.
    std::string temporary;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const int descriptor,
        OpenTemporaryFile(writer->folder() + "/b", temporary));
    close(descriptor);
  }
  EXPECT_THAT(Create(),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       AllOf(StartsWith(path_ + ".incomplete"),
                             HasSubstr("an unfinished run has left"))));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto writer, Create({.unfinished = UnfinishedRun::kContinue}));
  EXPECT_THAT(Names(writer->folder()), UnorderedElementsAre("a", ".lock"));
  INFLUENCE_ASSERT_OK(WriteFileAtomically(writer->folder() + "/marker", "new"));
  INFLUENCE_ASSERT_OK(writer->Commit(Nothing));
  EXPECT_THAT(Names(path_), UnorderedElementsAre("a", "marker"));
}

TEST_F(FolderWriterTest, DiscardsAnUnfinishedRun) {
  {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto writer,
                                   Create({.keep_unfinished = true}));
    INFLUENCE_ASSERT_OK(WriteFileAtomically(writer->folder() + "/a", "1"));
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto writer, Create({.unfinished = UnfinishedRun::kDiscard}));
  EXPECT_THAT(Names(writer->folder()), ElementsAre(".lock"));
}

TEST_F(FolderWriterTest, FindsACompleteOutputFinished) {
  Make("old");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto writer, Create({.unfinished = UnfinishedRun::kContinue}));
  EXPECT_TRUE(writer->finished());
  EXPECT_EQ(writer->folder(), path_);
  bool sealed = false;
  INFLUENCE_ASSERT_OK(writer->Commit([&] {
    sealed = true;
    return absl::OkStatus();
  }));
  EXPECT_FALSE(sealed);
  EXPECT_THAT(Names(folder_), ElementsAre("out"));
}

// As a crash between the two steps of replacing leaves it: the old output has
// the other name.
TEST_F(FolderWriterTest, DoesNotTakeAReplacedOutputForAnUnfinishedRun) {
  fs::create_directories(path_ + ".incomplete/c");
  INFLUENCE_ASSERT_OK(
      WriteFileAtomically(path_ + ".incomplete/marker", "older"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto writer, Create());
  EXPECT_THAT(Names(writer->folder()), ElementsAre(".lock"));
}

TEST_F(FolderWriterTest, NeverEmptiesWhatIsNoOutput) {
  fs::create_directories(path_ + ".incomplete/thesis");
  for (const UnfinishedRun unfinished :
       {UnfinishedRun::kRefuse, UnfinishedRun::kContinue,
        UnfinishedRun::kDiscard}) {
    EXPECT_THAT(
        Create({.unfinished = unfinished}),
        StatusIs(absl::StatusCode::kAlreadyExists,
                 StartsWith(path_ + ".incomplete: found a folder without "
                                    "marker")));
  }
  EXPECT_THAT(Names(path_ + ".incomplete"), ElementsAre("thesis"));
}

TEST_F(FolderWriterTest, KeepsASecondWriterAway) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto writer, Create());
  EXPECT_THAT(Create({.unfinished = UnfinishedRun::kContinue}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("found another process writing it")));
  EXPECT_THAT(Create({.unfinished = UnfinishedRun::kDiscard}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("found another process writing it")));
  INFLUENCE_ASSERT_OK(WriteFileAtomically(writer->folder() + "/marker", "new"));
  INFLUENCE_ASSERT_OK(writer->Commit(Nothing));
  EXPECT_EQ(Marker(), "new");
}

TEST_F(FolderWriterTest, LockDiesWithItsOwner) {
  const pid_t child = fork();
  if (child == 0) {
    const auto writer = Create({.keep_unfinished = true});
    if (writer.ok()) kill(getpid(), SIGKILL);
    _exit(1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_THAT(Create(), StatusIs(absl::StatusCode::kAlreadyExists,
                                 HasSubstr("unfinished run")));
  EXPECT_THAT(Create({.unfinished = UnfinishedRun::kContinue}), IsOk());
}

TEST_F(FolderWriterTest, SharesAndTheFirstCommitsForAll) {
  const FolderWriterOptions options = {.unfinished = UnfinishedRun::kContinue,
                                       .shared = true};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto first, Create(options));
  INFLUENCE_ASSERT_OK(WriteFileAtomically(first->folder() + "/a", "1"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto second, Create(options));
  EXPECT_TRUE(fs::exists(second->folder() + "/a"));
  EXPECT_FALSE(second->FinishedByAnother());
  INFLUENCE_ASSERT_OK(first->Commit(
      [&] { return WriteFileAtomically(first->folder() + "/marker", "new"); }));
  EXPECT_TRUE(second->FinishedByAnother());
  bool sealed = false;
  INFLUENCE_ASSERT_OK(second->Commit([&] {
    sealed = true;
    return absl::OkStatus();
  }));
  EXPECT_FALSE(sealed);
  EXPECT_TRUE(second->finished());
  EXPECT_THAT(Names(path_), UnorderedElementsAre("a", "marker"));
  EXPECT_THAT(Names(folder_), ElementsAre("out"));
}

TEST_F(FolderWriterTest, ReplacesOnceForAllWhoShare) {
  Make("old");
  const FolderWriterOptions options = {.overwrite = true,
                                       .unfinished = UnfinishedRun::kContinue,
                                       .shared = true};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto first, Create(options));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto second, Create(options));
  EXPECT_FALSE(second->FinishedByAnother());
  for (const auto* writer : {&first, &second}) {
    INFLUENCE_ASSERT_OK((*writer)->Commit([&] {
      return WriteFileAtomically((*writer)->folder() + "/marker", "new");
    }));
    EXPECT_EQ(Marker(), "new");
    EXPECT_THAT(Names(folder_), ElementsAre("out"));
  }
}

TEST_F(FolderWriterTest, SharedRunOutlivesAProcessThatFails) {
  const FolderWriterOptions options = {.unfinished = UnfinishedRun::kContinue,
                                       .shared = true};
  {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto first, Create(options));
    INFLUENCE_ASSERT_OK(WriteFileAtomically(first->folder() + "/a", "1"));
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto second, Create(options));
  EXPECT_TRUE(fs::exists(second->folder() + "/a"));
  EXPECT_THAT(FolderWriter::Create(path_, "marker", {.shared = true}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       StartsWith("shared: found")));
}

// The folder above is locked by the test, as by one that is about to publish:
// the writer that starts then must wait, and find the output, rather than look,
// find none, and make the folder again after the other has renamed it.
TEST_F(FolderWriterTest, OneThatStartsWhileAnotherPublishesFindsTheOutput) {
  const FolderWriterOptions options = {.unfinished = UnfinishedRun::kContinue,
                                       .shared = true};
  fs::create_directories(path_ + ".incomplete");
  INFLUENCE_ASSERT_OK(
      WriteFileAtomically(path_ + ".incomplete/marker", "done"));
  INFLUENCE_ASSERT_OK(WriteFileAtomically(path_ + ".incomplete/.lock", ""));
  const int above = open(folder_.c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_GE(above, 0);
  ASSERT_EQ(flock(above, LOCK_EX), 0);
  auto late = std::async(std::launch::async, [&] { return Create(options); });
  EXPECT_EQ(late.wait_for(std::chrono::milliseconds(200)),
            std::future_status::timeout);
  fs::rename(path_ + ".incomplete", path_);
  ASSERT_EQ(flock(above, LOCK_UN), 0);
  close(above);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto writer, late.get());
  EXPECT_TRUE(writer->finished());
  EXPECT_THAT(Names(folder_), ElementsAre("out"));
  EXPECT_THAT(Names(path_), ElementsAre("marker"));
}

// One of the writers removes nothing that another has just made, and none of
// them is left without an answer, wherever they meet.
TEST_F(FolderWriterTest, ManyProcessesLeaveNothingButTheOutput) {
  const FolderWriterOptions options = {.unfinished = UnfinishedRun::kContinue,
                                       .shared = true};
  constexpr int kRounds = 25;
  constexpr int kProcesses = 6;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<pid_t> children;
    for (int p = 0; p < kProcesses; ++p) {
      const pid_t child = fork();
      if (child == 0) {
        absl::SleepFor(absl::Microseconds(150 * p * (round % 8)));
        const auto writer = Create(options);
        const bool done =
            writer.ok() && (*writer)
                               ->Commit([&] {
                                 return WriteFileAtomically(
                                     (*writer)->folder() + "/marker", "done");
                               })
                               .ok();
        _exit(done ? 0 : 1);
      }
      children.push_back(child);
    }
    for (const pid_t child : children) {
      int status = 0;
      ASSERT_EQ(waitpid(child, &status, 0), child);
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
          << "round " << round;
    }
    ASSERT_THAT(Names(folder_), ElementsAre("out")) << "round " << round;
    ASSERT_THAT(Names(path_), ElementsAre("marker")) << "round " << round;
    fs::remove_all(path_);
  }
}

// Killed at any moment: the next one completes, and nothing is left beside or
// within the output.
TEST_F(FolderWriterTest, NothingIsLeftWhereWritersAreKilled) {
  Make("old");
  constexpr int kRounds = 40;
  for (int round = 0; round < kRounds; ++round) {
    const bool overwrite = round % 2 == 0;
    if (!overwrite) fs::remove_all(path_);
    const FolderWriterOptions options = {.overwrite = overwrite,
                                         .unfinished = UnfinishedRun::kContinue,
                                         .shared = round % 4 < 2};
    const pid_t child = fork();
    if (child == 0) {
      const auto writer = Create(options);
      if (!writer.ok()) _exit(1);
      WriteFileAtomically((*writer)->folder() + "/a", "1").IgnoreError();
      (*writer)->WriteNote("plan.json", "{}").IgnoreError();
      (*writer)
          ->Commit([&] {
            return WriteFileAtomically((*writer)->folder() + "/marker", "new");
          })
          .IgnoreError();
      _exit(0);
    }
    absl::SleepFor(absl::Microseconds(200 * round));
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto writer, Create(options));
      if (!writer->finished()) {
        INFLUENCE_ASSERT_OK(WriteFileAtomically(writer->folder() + "/a", "1"));
      }
      INFLUENCE_ASSERT_OK(writer->Commit([&] {
        return WriteFileAtomically(writer->folder() + "/marker", "new");
      }));
    }
    ASSERT_EQ(Marker(), "new") << "round " << round;
    ASSERT_THAT(Names(folder_), ElementsAre("out")) << "round " << round;
    ASSERT_THAT(Names(path_), UnorderedElementsAre("a", "marker"))
        << "round " << round;
  }
}

TEST_F(FolderWriterTest, RemovesWhatWasReplacedBesideACompleteOutput) {
  Make("new");
  fs::create_directories(path_ + ".incomplete/c");
  INFLUENCE_ASSERT_OK(WriteFileAtomically(path_ + ".incomplete/marker", "old"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto writer, Create({.unfinished = UnfinishedRun::kContinue}));
  EXPECT_TRUE(writer->finished());
  EXPECT_EQ(Marker(), "new");
  EXPECT_THAT(Names(folder_), ElementsAre("out"));
}

TEST_F(FolderWriterTest, ALateNoteOfOneThatSharesIsNoError) {
  const FolderWriterOptions options = {.unfinished = UnfinishedRun::kContinue,
                                       .shared = true};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto first, Create(options));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto second, Create(options));
  INFLUENCE_ASSERT_OK(first->Commit(
      [&] { return WriteFileAtomically(first->folder() + "/marker", "new"); }));
  INFLUENCE_EXPECT_OK(second->WriteNote("solves.0.json", "{}"));
  EXPECT_THAT(Names(folder_), ElementsAre("out"));
  EXPECT_THAT(Names(path_), ElementsAre("marker"));
}

TEST_F(FolderWriterTest, NotesLastUntilTheOutputIsComplete) {
  {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto writer,
                                   Create({.keep_unfinished = true}));
    EXPECT_EQ(writer->ReadNote("plan.json").value(), std::nullopt);
    INFLUENCE_EXPECT_OK(writer->WriteNote("plan.json", "first"));
    INFLUENCE_EXPECT_OK(writer->WriteNote("plan.json", "second"));
    // Of several who write it without replacing, one is the first.
    EXPECT_THAT(writer->WriteNote("plan.json", "third", /*replace=*/false),
                StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("plan")));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string folder,
                                   writer->NotePath("fit"));
    fs::create_directories(folder + "/covariances");
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto writer, Create({.unfinished = UnfinishedRun::kContinue}));
  EXPECT_EQ(writer->ReadNote("plan.json").value(), "second");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string folder,
                                 writer->NotePath("fit"));
  EXPECT_TRUE(fs::exists(folder + "/covariances"));
  INFLUENCE_ASSERT_OK(writer->Commit([&]() -> absl::Status {
    return WriteFileAtomically(writer->folder() + "/marker", "new");
  }));
  EXPECT_THAT(Names(path_), ElementsAre("marker"));
  EXPECT_THAT(writer->WriteNote("plan.json", "late"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("complete already")));
}

TEST_F(FolderWriterTest, RemovesWhatACrashHasLeftInACompleteOutput) {
  Make("done");
  fs::create_directories(path_ + "/.run");
  for (const std::string name : {"/.lock", "/.commit", "/.run/plan.json"}) {
    INFLUENCE_ASSERT_OK(WriteFileAtomically(path_ + name, ""));
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto writer, Create({.unfinished = UnfinishedRun::kContinue}));
  EXPECT_TRUE(writer->finished());
  EXPECT_THAT(Names(path_), ElementsAre("marker"));
}

TEST_F(FolderWriterTest, NamesAFolderThatCannotBeMade) {
  const WithoutRootPrivileges guard;
  EXPECT_THAT(FolderWriter::Create(folder_ / "none/out", "marker", {}),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("expected a writable folder")));
  fs::permissions(folder_, fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_THAT(Create(), StatusIs(absl::StatusCode::kPermissionDenied,
                                 AllOf(StartsWith(path_),
                                       HasSubstr("expected a writable folder " +
                                                 folder_.string()))));
  for (const char* path : {"", "/", "a/..", "."}) {
    EXPECT_THAT(FolderWriter::Create(path, "marker", {}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         StartsWith("output path: found")));
  }
}

}  // namespace
}  // namespace influence
