// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/atomic_file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
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
using ::testing::StartsWith;

class AtomicFileTest : public ::testing::Test {
 protected:
  AtomicFileTest()
      : folder_(fs::path(::testing::TempDir()) /
                absl::StrCat("atomic_file_test.", getpid())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~AtomicFileTest() override {
    fs::permissions(folder_, fs::perms::owner_all);
    fs::remove_all(folder_);
  }

  std::string Path(const std::string& name) const { return folder_ / name; }

  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
      names.push_back(entry.path().filename());
    }
    return names;
  }

  fs::path folder_;
};

TEST_F(AtomicFileTest, WritesReplacesAndReads) {
  const std::string bytes("a\0b", 3);
  INFLUENCE_ASSERT_OK(WriteFileAtomically(Path("f"), bytes));
  EXPECT_EQ(ReadFile(Path("f"), 3).value(), bytes);
  INFLUENCE_ASSERT_OK(WriteFileAtomically(Path("f"), "new"));
  EXPECT_EQ(ReadFile(Path("f"), 100).value(), "new");
  EXPECT_THAT(Names(), ElementsAre("f"));
}

TEST_F(AtomicFileTest, KeepsWhatIsThereIfAskedTo) {
  INFLUENCE_ASSERT_OK(WriteFileAtomically(Path("f"), "old"));
  EXPECT_THAT(WriteFileAtomically(Path("f"), "new", /*replace=*/false),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       StartsWith(absl::StrCat(Path("f"), ": found"))));
  EXPECT_EQ(ReadFile(Path("f"), 100).value(), "old");
  EXPECT_THAT(Names(), ElementsAre("f"));
}

TEST_F(AtomicFileTest, GivesTheModeOfANewFile) {
  const mode_t mask = umask(027);
  INFLUENCE_ASSERT_OK(WriteFileAtomically(Path("f"), "x"));
  umask(mask);
  struct stat status;
  ASSERT_EQ(stat(Path("f").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640);
}

TEST_F(AtomicFileTest, NamesTheFileThatCannotBeMade) {
  const WithoutRootPrivileges guard;
  fs::permissions(folder_, fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_THAT(WriteFileAtomically(Path("f"), "x"),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       AllOf(StartsWith(Path("f")),
                             HasSubstr("expected a writable folder " +
                                       folder_.string()))));
  EXPECT_THAT(
      WriteFileAtomically(Path("none/f"), "x"),
      StatusIs(absl::StatusCode::kNotFound, StartsWith(Path("none/f"))));
}

// A limit on the size of files refuses as a full disk does: in write().
TEST_F(AtomicFileTest, LeavesNothingWhereTheDiskRefuses) {
  INFLUENCE_ASSERT_OK(WriteFileAtomically(Path("f"), "old"));
  struct rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit limit = {4096, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const absl::Status status =
      WriteFileAtomically(Path("f"), std::string(10000, 'x'));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()),
              AllOf(StartsWith(Path("f")), HasSubstr("expected to write")));
  EXPECT_EQ(ReadFile(Path("f"), 100).value(), "old");
  EXPECT_THAT(Names(), ElementsAre("f"));
}

TEST_F(AtomicFileTest, MapsAFullDisk) {
  EXPECT_THAT(
      ErrnoStatus(ENOSPC, "out", "room"),
      StatusIs(absl::StatusCode::kResourceExhausted,
               "out: found \"No space left on device\", expected room"));
}

TEST_F(AtomicFileTest, KnowsTemporaryNames) {
  std::string temporary_path;
  const absl::StatusOr<int> descriptor =
      OpenTemporaryFile(Path("c"), temporary_path);
  ASSERT_THAT(descriptor, IsOk());
  close(*descriptor);
  EXPECT_EQ(ParentFolder(temporary_path), folder_.string());
  EXPECT_TRUE(IsTemporaryName(BaseName(temporary_path)));
  EXPECT_TRUE(IsTemporaryName(BaseName(TemporaryPath(Path("c")))));
  EXPECT_FALSE(IsTemporaryName("c"));
  EXPECT_FALSE(IsTemporaryName("scores.incomplete.zarr"));
  EXPECT_FALSE(IsTemporaryName(".lock"));
}

TEST_F(AtomicFileTest, RefusesWhatIsNoFileOrTooLarge) {
  EXPECT_THAT(ReadFile(Path("none"), 10),
              StatusIs(absl::StatusCode::kNotFound, StartsWith(Path("none"))));
  EXPECT_THAT(ReadFile(folder_, 10),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found a folder")));
  INFLUENCE_ASSERT_OK(WriteFileAtomically(Path("f"), "12345"));
  EXPECT_THAT(ReadFile(Path("f"), 4),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("found 5 bytes, expected at most 4")));
}

TEST_F(AtomicFileTest, CutsPaths) {
  EXPECT_EQ(ParentFolder("a"), ".");
  EXPECT_EQ(ParentFolder("/a"), "/");
  EXPECT_EQ(ParentFolder("/a/b"), "/a");
  EXPECT_EQ(BaseName("a/b"), "b");
  EXPECT_EQ(BaseName("b"), "b");
}

}  // namespace
}  // namespace influence
