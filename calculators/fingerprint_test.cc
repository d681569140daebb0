// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/fingerprint.h"

#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/empty.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "calculators/atomic_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

namespace fs = std::filesystem;

using ::testing::HasSubstr;
using ::testing::StartsWith;

class FingerprintTest : public ::testing::Test {
 protected:
  FingerprintTest()
      : folder_(fs::path(::testing::TempDir()) /
                absl::StrCat("fingerprint_test.", getpid())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_ / "data");
  }
  ~FingerprintTest() override { fs::remove_all(folder_); }

  std::string Path(const std::string& name) const { return folder_ / name; }

  void Write(const std::string& name, const std::string& contents) {
    fs::create_directories((folder_ / name).parent_path());
    INFLUENCE_ASSERT_OK(WriteFileAtomically(Path(name), contents));
  }

  std::string OfData() { return FingerprintOfPath(Path("data")).value(); }

  fs::path folder_;
};

// FIPS 180-2, appendix B.1, and the hash of nothing.
TEST_F(FingerprintTest, IsSha256) {
  EXPECT_EQ(FingerprintOfText("abc"),
            "ba7816bf8f01cfea414140de5dae2223"
            "b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(FingerprintOfText(""),
            "e3b0c44298fc1c149afbf4c8996fb924"
            "27ae41e4649b934ca495991b7852b855");
}

TEST_F(FingerprintTest, OfAFileIsThatOfItsContents) {
  std::string contents;
  for (int i = 0; i < 300000; ++i) absl::StrAppend(&contents, i, " ");
  Write("a", contents);
  Write("b", contents);
  EXPECT_EQ(*FingerprintOfFile(Path("a")), FingerprintOfText(contents));
  EXPECT_EQ(*FingerprintOfPath(Path("b")), FingerprintOfText(contents));
  contents.back() = 'x';
  Write("b", contents);
  EXPECT_NE(*FingerprintOfFile(Path("a")), *FingerprintOfFile(Path("b")));
}

TEST_F(FingerprintTest, AddsPieceByPiece) {
  Fingerprinter fingerprinter;
  fingerprinter.Add("a");
  fingerprinter.Add("");
  fingerprinter.Add("bc");
  EXPECT_EQ(fingerprinter.Finish(), FingerprintOfText("abc"));
}

TEST_F(FingerprintTest, OfAFolderIsThatOfNamesAndContents) {
  Write("data/x.npy", "xx");
  Write("data/y.npy", "yy");
  Write("data/more/z.npy", "z");
  const std::string before = OfData();
  Write("data/x.npy", "xx");
  Write("data/.DS_Store", "noise");
  Write("data/.cache/x", "noise");
  EXPECT_EQ(OfData(), before);
  fs::rename(folder_ / "data", folder_ / "other");
  EXPECT_EQ(*FingerprintOfPath(Path("other")), before);
  fs::rename(folder_ / "other", folder_ / "data");

  Write("data/x.npy", "xz");
  EXPECT_NE(OfData(), before);
  Write("data/x.npy", "xx");
  EXPECT_EQ(OfData(), before);
  Write("data/x1.npy", "");
  EXPECT_NE(OfData(), before);
  fs::remove(folder_ / "data/x1.npy");
  fs::rename(folder_ / "data/more", folder_ / "data/less");
  EXPECT_NE(OfData(), before);
}

TEST_F(FingerprintTest, OfATensorIsThatOfItsValues) {
  const at::Tensor values = at::arange(6).reshape({2, 3});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string before,
                                 FingerprintOfTensor(values));
  EXPECT_EQ(*FingerprintOfTensor(values.t().contiguous().t()), before);
  EXPECT_NE(*FingerprintOfTensor(values.reshape({3, 2})), before);
  EXPECT_NE(*FingerprintOfTensor(values.to(at::kDouble)), before);
  at::Tensor changed = values.clone();
  changed.select(0, 1).select(0, 2).fill_(7);
  EXPECT_NE(*FingerprintOfTensor(changed), before);
  INFLUENCE_EXPECT_OK(FingerprintOfTensor(at::empty({0, 3})));
  EXPECT_THAT(
      FingerprintOfTensor(at::Tensor()),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tensor")));
}

TEST_F(FingerprintTest, NamesWhatCannotBeRead) {
  EXPECT_THAT(FingerprintOfPath(Path("none")),
              StatusIs(absl::StatusCode::kNotFound, StartsWith(Path("none"))));
  EXPECT_THAT(FingerprintOfFile(Path("none")),
              StatusIs(absl::StatusCode::kNotFound, StartsWith(Path("none"))));
  EXPECT_THAT(FingerprintOfFolder(Path("none")),
              StatusIs(absl::StatusCode::kNotFound, StartsWith(Path("none"))));
  EXPECT_THAT(FingerprintOfFile(Path("data")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found a folder")));
}

}  // namespace
}  // namespace influence
