// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/npy_file.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "ATen/ops/arange.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/zeros.h"
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
using ::testing::IsEmpty;
using ::testing::StartsWith;

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

void WriteContents(const std::string& path, const std::string& contents) {
  std::ofstream(path, std::ios::binary) << contents;
}

// Gives each test an empty folder.
class NpyTest : public ::testing::Test {
 protected:
  NpyTest()
      : folder_(fs::path(::testing::TempDir()) /
                absl::StrCat("npy_file_test.", getpid())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~NpyTest() override {
    fs::permissions(folder_, fs::perms::owner_all);
    fs::remove_all(folder_);
  }

  std::string Path(const std::string& name) const {
    return (folder_ / name).string();
  }

  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  const fs::path folder_;
};

using NpyFileTest = NpyTest;
using NpyWriterTest = NpyTest;

TEST_F(NpyFileTest, ReadsRangesOfRows) {
  for (const char* name : {"version_3", "fortran_float32"}) {
    SCOPED_TRACE(name);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const NpyFile file,
        NpyFile::Open(absl::StrCat("calculators/testdata/", name, ".npy")));
    EXPECT_THAT(file.shape(), ElementsAre(2, 3, 4));
    EXPECT_EQ(file.dtype(), at::kFloat);
    EXPECT_EQ(file.num_rows(), 2);
    const at::Tensor expected = at::arange(24, at::kFloat).reshape({2, 3, 4});
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor all, file.ReadAll());
    EXPECT_TRUE(at::equal(all, expected));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor row, file.ReadRows(1, 2));
    EXPECT_TRUE(at::equal(row, expected.slice(0, 1, 2)));
    EXPECT_THAT(file.ReadRows(1, 3),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("found the row range [1, 3)")));
  }
}

TEST_F(NpyFileTest, ReadsASingleValue) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const NpyFile file,
      NpyFile::Open("calculators/testdata/single_value.npy"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor value, file.ReadAll());
  EXPECT_EQ(value.item<double>(), 2.5);
}

TEST_F(NpyFileTest, HandsOutCopies) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const NpyFile file, NpyFile::Open("calculators/testdata/vector.npy"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor first, file.ReadAll());
  first.zero_();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor second, file.ReadAll());
  EXPECT_TRUE(at::equal(second, at::arange(5, at::kLong)));
}

TEST_F(NpyFileTest, ServesThreadsAtTheSameTime) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const NpyFile file, NpyFile::Open("calculators/testdata/vector.npy"));
  std::vector<std::thread> threads;
  for (int64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&file, t] {
      for (int i = 0; i < 100; ++i) {
        INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor row,
                                       file.ReadRows(t, t + 1));
        EXPECT_EQ(row.item<int64_t>(), t);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(NpyFileTest, OutlivesTheRemovalOfItsFile) {
  fs::copy("calculators/testdata/vector.npy", Path("v.npy"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const NpyFile file,
                                 NpyFile::Open(Path("v.npy")));
  fs::remove(Path("v.npy"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor read, file.ReadAll());
  EXPECT_TRUE(at::equal(read, at::arange(5, at::kLong)));
}

TEST_F(NpyFileTest, NoticesThatItsFileHasBecomeShorter) {
  fs::copy("calculators/testdata/vector.npy", Path("v.npy"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const NpyFile file,
                                 NpyFile::Open(Path("v.npy")));
  ASSERT_EQ(truncate(Path("v.npy").c_str(), 0), 0);
  EXPECT_THAT(file.ReadAll(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(StartsWith(Path("v.npy")),
                             HasSubstr("found 0 bytes, expected the 168"))));
}

TEST_F(NpyFileTest, NamesBothSizesOfATruncatedFile) {
  const std::string bytes = Contents("calculators/testdata/vector.npy");
  WriteContents(Path("v.npy"), bytes.substr(0, 150));
  EXPECT_THAT(NpyFile::Open(Path("v.npy")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       absl::StrCat(Path("v.npy"),
                                    ": found 22 bytes of values (truncated), "
                                    "expected 40 for int64 [5]")));
  WriteContents(Path("v.npy"), "");
  EXPECT_THAT(NpyFile::Open(Path("v.npy")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found 0 bytes, expected a .npy array")));
}

TEST_F(NpyFileTest, RefusesWhatIsNotAFile) {
  EXPECT_THAT(NpyFile::Open(Path("none.npy")),
              StatusIs(absl::StatusCode::kNotFound,
                       absl::StrCat(Path("none.npy"),
                                    ": found \"No such file or directory\", "
                                    "expected a readable file")));
  EXPECT_THAT(NpyFile::Open(folder_.string()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found a folder, expected a .npy file")));
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0600), 0);
  EXPECT_THAT(NpyFile::Open(Path("pipe")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found a device, pipe or socket")));
}

TEST_F(NpyFileTest, RefusesAFileWithoutPermission) {
  fs::copy("calculators/testdata/vector.npy", Path("v.npy"));
  fs::permissions(Path("v.npy"), fs::perms::none);
  const WithoutRootPrivileges guard;
  EXPECT_THAT(NpyFile::Open(Path("v.npy")),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       absl::StrCat(Path("v.npy"),
                                    ": found \"Permission denied\", expected "
                                    "a readable file")));
}

TEST_F(NpyFileTest, RefusesAnObjectArray) {
  EXPECT_THAT(NpyFile::Open("calculators/testdata/object.npy"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found an object array (a pickle)")));
}

TEST_F(NpyWriterTest, WritesTheBytesThatNumpyWrites) {
  const at::Tensor values = at::arange(5, at::kLong);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<NpyWriter> writer,
      NpyWriter::Create(Path("v.npy"), {5}, at::kLong, false));
  INFLUENCE_ASSERT_OK(writer->WriteRows(3, values.slice(0, 3)));
  INFLUENCE_ASSERT_OK(writer->WriteRows(0, values.slice(0, 0, 3)));
  INFLUENCE_ASSERT_OK(writer->Commit());
  EXPECT_EQ(Contents(Path("v.npy")),
            Contents("calculators/testdata/vector.npy"));
  EXPECT_THAT(Files(), ElementsAre("v.npy"));
}

TEST_F(NpyWriterTest, PutsTilesInTheirPlace) {
  // Tiles that divide neither extent, trailing dimensions, and layouts that
  // are not contiguous.
  const at::Tensor values =
      at::arange(7 * 5 * 3 * 2, at::kDouble).reshape({7, 5, 3, 2});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<NpyWriter> writer,
      NpyWriter::Create(Path("a.npy"), values.sizes(), at::kDouble, false));
  for (int64_t row = 6; row >= 0; row -= 3) {
    for (int64_t col = 0; col < 5; col += 2) {
      const at::Tensor tile =
          values.slice(0, row, std::min<int64_t>(row + 3, 7))
              .slice(1, col, std::min<int64_t>(col + 2, 5));
      INFLUENCE_ASSERT_OK(writer->WriteTile(row, col, tile));
    }
  }
  INFLUENCE_ASSERT_OK(writer->Commit());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const NpyFile file,
                                 NpyFile::Open(Path("a.npy")));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor read, file.ReadAll());
  EXPECT_TRUE(at::equal(read, values));
}

TEST_F(NpyWriterTest, TakesTilesFromThreadsAtTheSameTime) {
  const at::Tensor values = at::arange(64 * 32, at::kFloat).reshape({64, 32});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<NpyWriter> writer,
      NpyWriter::Create(Path("a.npy"), {64, 32}, at::kFloat, false));
  std::vector<std::thread> threads;
  for (int64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int64_t row = 0; row < 64; row += 4) {
        INFLUENCE_EXPECT_OK(writer->WriteTile(
            row, 8 * t,
            values.slice(0, row, row + 4).slice(1, 8 * t, 8 * t + 8)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  INFLUENCE_ASSERT_OK(writer->Commit());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const NpyFile file,
                                 NpyFile::Open(Path("a.npy")));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor read, file.ReadAll());
  EXPECT_TRUE(at::equal(read, values));
}

TEST_F(NpyWriterTest, WritesAnEmptyArray) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<NpyWriter> writer,
      NpyWriter::Create(Path("a.npy"), {0, 3}, at::kFloat, false));
  INFLUENCE_ASSERT_OK(writer->Commit());
  EXPECT_EQ(Contents(Path("a.npy")),
            Contents("calculators/testdata/no_rows.npy"));
}

TEST_F(NpyWriterTest, LeavesNothingBehindWithoutCommit) {
  {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const std::unique_ptr<NpyWriter> writer,
        NpyWriter::Create(Path("a.npy"), {2}, at::kFloat, false));
    INFLUENCE_ASSERT_OK(writer->WriteRows(0, at::zeros({2})));
    // Not under its name before it is complete.
    EXPECT_FALSE(fs::exists(Path("a.npy")));
    EXPECT_EQ(Files().size(), 1);
  }
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(NpyWriterTest, RefusesToCommitWhatIsNotWhole) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<NpyWriter> writer,
      NpyWriter::Create(Path("a.npy"), {4, 6}, at::kFloat, false));
  const auto missing = [](const std::string& index) {
    return StatusIs(absl::StatusCode::kFailedPrecondition,
                    HasSubstr("found nothing written at " + index +
                              ", expected all of [4, 6]"));
  };
  EXPECT_THAT(writer->Commit(), missing("[0, 0]"));
  INFLUENCE_ASSERT_OK(writer->WriteRows(2, at::zeros({2, 6})));
  EXPECT_THAT(writer->Commit(), missing("[0, 0]"));
  INFLUENCE_ASSERT_OK(writer->WriteTile(0, 0, at::zeros({2, 4})));
  EXPECT_THAT(writer->Commit(), missing("[0, 4]"));
  INFLUENCE_ASSERT_OK(writer->WriteTile(0, 3, at::zeros({1, 3})));
  EXPECT_THAT(writer->Commit(), missing("[1, 4]"));
  // Over rows that are written already.
  INFLUENCE_ASSERT_OK(writer->WriteTile(1, 4, at::zeros({3, 2})));
  INFLUENCE_ASSERT_OK(writer->Commit());
}

TEST_F(NpyWriterTest, RefusesAnExistingTargetUnlessAskedTo) {
  WriteContents(Path("a.npy"), "old");
  EXPECT_THAT(
      NpyWriter::Create(Path("a.npy"), {1}, at::kFloat, false).status(),
      StatusIs(absl::StatusCode::kAlreadyExists,
               AllOf(StartsWith(Path("a.npy")),
                     HasSubstr("found an existing file, expected none"))));
  {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const std::unique_ptr<NpyWriter> abandoned,
        NpyWriter::Create(Path("a.npy"), {1}, at::kFloat, true));
    INFLUENCE_ASSERT_OK(abandoned->WriteRows(0, at::zeros({1})));
  }
  EXPECT_EQ(Contents(Path("a.npy")), "old");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<NpyWriter> writer,
      NpyWriter::Create(Path("a.npy"), {1}, at::kFloat, true));
  INFLUENCE_ASSERT_OK(writer->WriteRows(0, at::zeros({1})));
  EXPECT_EQ(Contents(Path("a.npy")), "old");
  INFLUENCE_ASSERT_OK(writer->Commit());
  INFLUENCE_EXPECT_OK(NpyFile::Open(Path("a.npy")));
  EXPECT_THAT(Files(), ElementsAre("a.npy"));
}

TEST_F(NpyWriterTest, DoesNotReplaceATargetThatAppearedMeanwhile) {
  {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const std::unique_ptr<NpyWriter> writer,
        NpyWriter::Create(Path("a.npy"), {1}, at::kFloat, false));
    INFLUENCE_ASSERT_OK(writer->WriteRows(0, at::zeros({1})));
    WriteContents(Path("a.npy"), "another's");
    EXPECT_THAT(writer->Commit(), StatusIs(absl::StatusCode::kAlreadyExists,
                                           StartsWith(Path("a.npy"))));
  }
  EXPECT_EQ(Contents(Path("a.npy")), "another's");
  EXPECT_THAT(Files(), ElementsAre("a.npy"));
}

TEST_F(NpyWriterTest, IsOverAfterCommit) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<NpyWriter> writer,
      NpyWriter::Create(Path("a.npy"), {1, 1}, at::kFloat, false));
  INFLUENCE_ASSERT_OK(writer->WriteRows(0, at::zeros({1, 1})));
  INFLUENCE_ASSERT_OK(writer->Commit());
  const auto over = StatusIs(absl::StatusCode::kFailedPrecondition,
                             HasSubstr("found the file complete already"));
  EXPECT_THAT(writer->Commit(), over);
  EXPECT_THAT(writer->WriteRows(0, at::zeros({1, 1})), over);
  EXPECT_THAT(writer->WriteTile(0, 0, at::zeros({1, 1})), over);
}

TEST_F(NpyWriterTest, RefusesTilesThatDoNotFit) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<NpyWriter> writer,
      NpyWriter::Create(Path("a.npy"), {4, 6, 2}, at::kFloat, false));
  const auto refused = [](const std::string& what) {
    return StatusIs(absl::StatusCode::kInvalidArgument,
                    AllOf(HasSubstr("found " + what),
                          HasSubstr("within float32 [4, 6, 2]")));
  };
  EXPECT_THAT(writer->WriteTile(3, 0, at::zeros({2, 6, 2})),
              refused("a tile float32 [2, 6, 2] at row 3, column 0"));
  EXPECT_THAT(writer->WriteTile(0, 5, at::zeros({1, 2, 2})), refused("a tile"));
  EXPECT_THAT(writer->WriteTile(-1, 0, at::zeros({1, 1, 2})),
              refused("a tile"));
  EXPECT_THAT(writer->WriteTile(0, -1, at::zeros({1, 1, 2})),
              refused("a tile"));
  EXPECT_THAT(writer->WriteTile(0, 0, at::zeros({1, 1, 3})), refused("a tile"));
  EXPECT_THAT(writer->WriteTile(0, 0, at::zeros({1, 2})), refused("a tile"));
  EXPECT_THAT(writer->WriteTile(0, 0, at::zeros({})), refused("a tile"));
  EXPECT_THAT(writer->WriteTile(0, 0, at::zeros({1, 1, 2}, at::kDouble)),
              refused("a tile float64"));
  EXPECT_THAT(
      writer->WriteTile(0, 0, at::Tensor()),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("undefined")));
  EXPECT_THAT(writer->WriteRows(4, at::zeros({1, 6, 2})), refused("rows"));
  EXPECT_THAT(writer->WriteRows(-1, at::zeros({1, 6, 2})), refused("rows"));
  EXPECT_THAT(writer->WriteRows(0, at::zeros({1, 5, 2})), refused("rows"));
  EXPECT_THAT(writer->WriteRows(0, at::zeros({6, 2})), refused("rows"));

  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<NpyWriter> vector,
      NpyWriter::Create(Path("v.npy"), {4}, at::kFloat, false));
  EXPECT_THAT(vector->WriteTile(0, 0, at::zeros({4})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("expected two or more dimensions")));
}

TEST_F(NpyWriterTest, RefusesBadArraysAndPaths) {
  EXPECT_THAT(NpyWriter::Create(Path("a.npy"), {}, at::kFloat, false).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("expected at least one dimension")));
  EXPECT_THAT(
      NpyWriter::Create(Path("a.npy"), {-1}, at::kFloat, false).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("extents >= 0")));
  EXPECT_THAT(
      NpyWriter::Create(Path("a.npy"), {2}, at::kBFloat16, false).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("bfloat16")));
  EXPECT_THAT(NpyWriter::Create("", {2}, at::kFloat, false).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("expected the name of a file")));
  EXPECT_THAT(NpyWriter::Create(Path("a/"), {2}, at::kFloat, false).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("expected the name of a file")));
  EXPECT_THAT(
      NpyWriter::Create(folder_.string(), {2}, at::kFloat, true).status(),
      StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("found a folder")));
  EXPECT_THAT(
      NpyWriter::Create(Path("none/a.npy"), {2}, at::kFloat, false).status(),
      StatusIs(absl::StatusCode::kNotFound,
               HasSubstr("expected a writable folder")));
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(NpyWriterTest, RefusesAFolderWithoutPermission) {
  fs::permissions(folder_, fs::perms::owner_read | fs::perms::owner_exec);
  const WithoutRootPrivileges guard;
  EXPECT_THAT(NpyWriter::Create(Path("a.npy"), {2}, at::kFloat, false).status(),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       AllOf(StartsWith(Path("a.npy")),
                             HasSubstr("expected a writable folder"))));
}

TEST_F(NpyWriterTest, NoticesBeforehandThatTheSpaceIsMissing) {
  // A limit on the size of files stands for a full disk.
  const auto previous_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit previous;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &previous), 0);
  rlimit limit = previous;
  limit.rlim_cur = 1 << 20;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const absl::Status status =
      NpyWriter::Create(Path("a.npy"), {1 << 20}, at::kFloat, false).status();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &previous), 0);
  std::signal(SIGXFSZ, previous_handler);
  EXPECT_THAT(std::string(status.message()),
              AllOf(StartsWith(Path("a.npy")),
                    HasSubstr("expected room for 4194432 bytes on the disk")));
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(NpyWriterTest, GivesTheFileOrdinaryPermissions) {
  const mode_t mask = umask(022);
  {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const std::unique_ptr<NpyWriter> writer,
        NpyWriter::Create(Path("a.npy"), {0}, at::kFloat, false));
    INFLUENCE_ASSERT_OK(writer->Commit());
  }
  umask(mask);
  struct stat status;
  ASSERT_EQ(stat(Path("a.npy").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0644);
}

}  // namespace
}  // namespace influence
