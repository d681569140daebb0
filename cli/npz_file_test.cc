// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/npz_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "ATen/ops/arange.h"
#include "ATen/ops/equal.h"
#include "absl/strings/str_cat.h"
#include "cli/npz_testing.h"
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

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

class NpzFileTest : public ::testing::Test {
 protected:
  NpzFileTest()
      : folder_(fs::path(::testing::TempDir()) /
                absl::StrCat("npz_file_test.", getpid())) {
    fs::create_directories(folder_);
  }
  ~NpzFileTest() override { fs::remove_all(folder_); }

  // Writes an archive and returns its path.
  std::string Archive(const std::string& bytes) const {
    const std::string path = (folder_ / "a.npz").string();
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  // Opens an archive of these bytes and reads the array x.
  absl::StatusOr<at::Tensor> ReadX(const std::string& bytes,
                                   int64_t max_bytes = kNoLimit) const {
    INFLUENCE_ASSIGN_OR_RETURN(NpzFile archive, NpzFile::Open(Archive(bytes)));
    return archive.Read("x", max_bytes);
  }

  const fs::path folder_;
};

// [5, 3] holding 0, 1/4, ... in row-major order.
at::Tensor GoldenX() {
  return at::arange(15, at::kDouble).div(4).reshape({5, 3});
}

TEST_F(NpzFileTest, ReadsWhatNumpyWrote) {
  for (const auto& [name, dtype] :
       {std::pair<std::string, at::ScalarType>{"stored", at::kFloat},
        {"deflated", at::kDouble}}) {
    SCOPED_TRACE(name);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        NpzFile archive,
        NpzFile::Open(absl::StrCat("cli/testdata/", name, ".npz")));
    EXPECT_THAT(archive.names(), ElementsAre("x", "y"));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor x,
                                   archive.Read("x", kNoLimit));
    EXPECT_EQ(x.scalar_type(), dtype);
    EXPECT_TRUE(at::equal(x.to(at::kDouble), GoldenX()));
  }
}

TEST_F(NpzFileTest, ReadsArraysInAnyOrderAndAgain) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(NpzFile archive,
                                 NpzFile::Open("cli/testdata/two_inputs.npz"));
  EXPECT_THAT(archive.names(), ElementsAre("x1", "y", "x0"));
  for (int repetition = 0; repetition < 2; ++repetition) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor x0,
                                   archive.Read("x0", kNoLimit));
    EXPECT_TRUE(at::equal(x0, at::arange(10, at::kLong).reshape({5, 2})));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor y,
                                   archive.Read("y", kNoLimit));
    EXPECT_TRUE(at::equal(y, at::arange(5, at::kDouble).div(8)));
    // Fortran order, deflated.
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor x1,
                                   archive.Read("x1", kNoLimit));
    EXPECT_EQ(x1.scalar_type(), at::kHalf);
    EXPECT_TRUE(at::equal(x1.to(at::kDouble), GoldenX()));
  }
}

TEST_F(NpzFileTest, AnEmptyArchiveHasNoArrays) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const NpzFile archive,
                                 NpzFile::Open(Archive(ZipBytes({}))));
  EXPECT_THAT(archive.names(), IsEmpty());
}

TEST_F(NpzFileTest, RefusesWhatIsNotAnArchive) {
  EXPECT_THAT(NpzFile::Open("none.npz"),
              StatusIs(absl::StatusCode::kNotFound,
                       "none.npz: found \"No such file or directory\", "
                       "expected an .npz archive"));
  EXPECT_THAT(NpzFile::Open(folder_.string()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found a folder, expected an .npz")));
  const std::string pipe = (folder_ / "pipe").string();
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(NpzFile::Open(pipe),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found a device, pipe or socket")));
  EXPECT_THAT(NpzFile::Open(Archive("no zip")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found \"Not a zip archive\"")));
}

TEST_F(NpzFileTest, RefusesAFileWithoutPermission) {
  const std::string path = Archive(ZipBytes({}));
  fs::permissions(path, fs::perms::none);
  const WithoutRootPrivileges guard;
  EXPECT_THAT(NpzFile::Open(path),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       StartsWith(path + ": found \"Can't open file")));
}

TEST_F(NpzFileTest, RefusesEveryPrefixOfAnArchive) {
  const std::string bytes = ZipBytes(
      {{.name = "x.npy", .contents = NpyBytes(at::arange(6, at::kFloat))}});
  INFLUENCE_ASSERT_OK(ReadX(bytes));
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THAT(
        ReadX(bytes.substr(0, size)),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a.npz: found")))
        << size;
  }
}

TEST_F(NpzFileTest, NamesTheArrayThatIsNotThere) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(NpzFile archive,
                                 NpzFile::Open("cli/testdata/stored.npz"));
  EXPECT_THAT(archive.Read("z", kNoLimit),
              StatusIs(absl::StatusCode::kNotFound,
                       StartsWith("cli/testdata/stored.npz: z: found no")));
}

TEST_F(NpzFileTest, NamesTheMemberThatAppearsTwiceOrIsNoArray) {
  const std::string array = NpyBytes(at::arange(2, at::kFloat));
  EXPECT_THAT(ReadX(ZipBytes({{.name = "x.npy", .contents = array},
                              {.name = "x.npy", .contents = array}})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found the array x twice, expected it once")));
  for (const char* name : {"notes.txt", "x", "folder/", "", ".npy"}) {
    EXPECT_THAT(
        ReadX(ZipBytes({{.name = "x.npy", .contents = array},
                        {.name = name, .contents = array}})),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 HasSubstr(absl::StrCat("found a member \"", name,
                                        "\", expected .npy arrays only"))));
  }
}

TEST_F(NpzFileTest, RefusesAnObjectArray) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(NpzFile archive,
                                 NpzFile::Open("cli/testdata/object.npz"));
  EXPECT_THAT(
      archive.Read("y", kNoLimit),
      StatusIs(absl::StatusCode::kInvalidArgument,
               StartsWith("cli/testdata/object.npz: y: found an object array "
                          "(a pickle)")));
}

TEST_F(NpzFileTest, RefusesAChecksumThatIsWrong) {
  for (const bool deflated : {false, true}) {
    EXPECT_THAT(
        ReadX(ZipBytes({{.name = "x.npy",
                         .contents = NpyBytes(at::arange(6, at::kFloat)),
                         .deflated = deflated,
                         .declared_checksum = 1}})),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 AllOf(HasSubstr("a.npz: x: found damaged data"),
                       HasSubstr("CRC error"))));
  }
}

TEST_F(NpzFileTest, RefusesDamagedCompressedData) {
  const std::string array = NpyBytes(at::arange(1000, at::kFloat));
  std::string bytes =
      ZipBytes({{.name = "x.npy", .contents = array, .deflated = true}});
  for (size_t i = 200; i < 220; ++i) bytes[i] = '\xff';
  EXPECT_THAT(ReadX(bytes), StatusIs(absl::StatusCode::kInvalidArgument,
                                     HasSubstr("a.npz: x: found")));
}

TEST_F(NpzFileTest, RefusesEncryptionAndOtherCompression) {
  const std::string array = NpyBytes(at::arange(6, at::kFloat));
  EXPECT_THAT(ReadX(ZipBytes(
                  {{.name = "x.npy", .contents = array, .encrypted = true}})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("a.npz: x: found an encrypted member")));
  EXPECT_THAT(
      ReadX(ZipBytes(
          {{.name = "x.npy", .contents = array, .declared_method = 14}})),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("found compression method 14, expected 0 (stored) or "
                         "8 (deflated)")));
}

TEST_F(NpzFileTest, RefusesSizesThatContradictEachOther) {
  const std::string array = NpyBytes(at::arange(6, at::kFloat));
  const auto declared = [&](bool deflated, uint32_t size) {
    return ReadX(ZipBytes({{.name = "x.npy",
                            .contents = array,
                            .deflated = deflated,
                            .declared_size = size}}));
  };
  const auto size = static_cast<uint32_t>(array.size());
  INFLUENCE_EXPECT_OK(declared(true, size));
  // No deflated data grow so much.
  EXPECT_THAT(declared(true, 0xfffffff0),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found a declared size of 4294967280")));
  // Stands for a size in another field, which is not there.
  EXPECT_THAT(declared(true, 0xffffffff),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found \"Zip archive inconsistent\"")));
  for (const bool deflated : {false, true}) {
    EXPECT_THAT(declared(deflated, size + 4),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("a.npz: x: found")));
    EXPECT_THAT(declared(deflated, size - 4),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("a.npz: x: found")));
    EXPECT_THAT(declared(deflated, 3),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("a.npz: x: found")));
  }
}

TEST_F(NpzFileTest, RefusesAMemberThatEndsBeforeItsDeclaredSize) {
  // Header and directory agree on 1,000 values, of which 10 are there.
  const std::string array =
      NpyBytes("<f4", "(1000,)", std::string(10 * 4, '\0'));
  const auto size = static_cast<uint32_t>(array.size() + 990 * 4);
  EXPECT_THAT(ReadX(ZipBytes({{.name = "x.npy",
                               .contents = array,
                               .deflated = true,
                               .declared_size = size}})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("a.npz: x: found")));
}

TEST_F(NpzFileTest, NamesBothSizesOfATruncatedArray) {
  EXPECT_THAT(
      ReadX(ZipBytes(
          {{.name = "x.npy",
            .contents = NpyBytes("<f4", "(1125899906842624,)", "0123")}})),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("a.npz: x: found 4 bytes of values (truncated), "
                         "expected 4503599627370496")));
}

TEST_F(NpzFileTest, RefusesAnArrayAboveTheLimitBeforeReadingIt) {
  // 64 MiB of zeros in 64 kB: a real archive, too big for this caller.
  constexpr int64_t kSize = int64_t{64} << 20;
  const std::string bytes =
      ZipBytes({{.name = "x.npy",
                 .contents = NpyBytes("|u1", absl::StrCat("(", kSize, ",)"),
                                      std::string(kSize, '\0')),
                 .deflated = true}});
  EXPECT_LT(bytes.size(), 1 << 20);
  EXPECT_THAT(ReadX(bytes, kSize - 1),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("a.npz: x: found 67108864 bytes of values "
                                 "(uint8 [67108864]), expected at most "
                                 "67108863")));
  INFLUENCE_EXPECT_OK(ReadX(bytes, kSize));
}

TEST_F(NpzFileTest, CountsWidenedValuesAgainstTheLimit) {
  const std::string bytes = ZipBytes(
      {{.name = "x.npy", .contents = NpyBytes("<u2", "(4,)", "01234567")}});
  EXPECT_THAT(ReadX(bytes, 31),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("found 32 bytes of values (uint16 [4])")));
  INFLUENCE_EXPECT_OK(ReadX(bytes, 32));
}

TEST_F(NpzFileTest, IsMovable) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(NpzFile first,
                                 NpzFile::Open("cli/testdata/stored.npz"));
  NpzFile second = std::move(first);
  INFLUENCE_EXPECT_OK(second.Read("x", kNoLimit));
  EXPECT_EQ(second.path(), "cli/testdata/stored.npz");
}

}  // namespace
}  // namespace influence
