// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/zarr_array.h"

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/full.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "calculators/atomic_file.h"
#include "calculators/zarr_format.h"
#include "calculators/zarr_store_writer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class ZarrArrayTest : public ::testing::Test {
 protected:
  ZarrArrayTest()
      : folder_(fs::path(::testing::TempDir()) /
                absl::StrCat("zarr_array_test.", getpid())),
        path_(folder_ / "scores.zarr") {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~ZarrArrayTest() override { fs::remove_all(folder_); }

  // Writes [5, 7, 2] in chunks of [2, 3, 2].
  ZarrArray Write() {
    ZarrArrayMetadata metadata;
    metadata.shape = {5, 7, 2};
    metadata.chunk_shape = {2, 3, 2};
    const auto store = ZarrStoreWriter::Create(path_);
    EXPECT_THAT(store, IsOk());
    const auto array = (*store)->AddArray("", metadata);
    EXPECT_THAT(array, IsOk());
    INFLUENCE_EXPECT_OK((*array)->Write({0, 0, 0}, Values()));
    INFLUENCE_EXPECT_OK((*store)->Commit());
    return ZarrArray::Open(path_).value();
  }

  static at::Tensor Values() {
    return at::arange(70, at::TensorOptions(at::kFloat)).reshape({5, 7, 2});
  }

  fs::path folder_;
  std::string path_;
};

TEST_F(ZarrArrayTest, ReadsEveryRange) {
  const ZarrArray array = Write();
  EXPECT_THAT(array.shape(), ElementsAre(5, 7, 2));
  EXPECT_EQ(array.dtype(), at::kFloat);
  for (int64_t r0 = 0; r0 <= 5; ++r0) {
    for (int64_t r1 = r0; r1 <= 5; ++r1) {
      for (int64_t c0 = 0; c0 <= 7; c0 += 2) {
        for (int64_t c1 = c0; c1 <= 7; ++c1) {
          INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor part,
                                         array.Read({r0, c0, 1}, {r1, c1, 2}));
          EXPECT_TRUE(at::equal(
              part, Values().slice(0, r0, r1).slice(1, c0, c1).slice(2, 1, 2)));
        }
      }
    }
  }
  EXPECT_TRUE(at::equal(*array.ReadRows(1, 4), Values().slice(0, 1, 4)));
  EXPECT_TRUE(at::equal(*array.ReadChunk({2, 1, 0}),
                        Values().slice(0, 4, 5).slice(1, 3, 6)));
}

TEST_F(ZarrArrayTest, ReadsOnlyTheChunksOfTheRange) {
  const ZarrArray array = Write();
  fs::remove(array.ChunkPath({2, 2, 0}));
  EXPECT_TRUE(at::equal(*array.ReadRows(0, 4), Values().slice(0, 0, 4)));
  EXPECT_THAT(array.ReadRows(0, 5),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(StartsWith(path_ + "/c/2/2/0: found no such file"),
                             HasSubstr("chunk (2, 2, 0)"))));
  EXPECT_THAT(array.Verify(), StatusIs(absl::StatusCode::kDataLoss,
                                       HasSubstr("chunk (2, 2, 0)")));
}

TEST_F(ZarrArrayTest, RefusesRangesBeyondTheArray) {
  const ZarrArray array = Write();
  EXPECT_THAT(array.ReadRows(3, 6),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("expected one within [5, 7, 2]")));
  EXPECT_THAT(array.Read({2, 0, 0}, {1, 7, 2}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found the range from (2, 0, 0)")));
  EXPECT_THAT(array.Read({0}, {1}), StatusIs(absl::StatusCode::kInvalidArgument,
                                             HasSubstr("found the range")));
  EXPECT_THAT(array.ReadChunk({0, 3, 0}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("expected one of [3, 3, 1]")));
}

TEST_F(ZarrArrayTest, NamesADamagedChunk) {
  const ZarrArray array = Write();
  const std::string path = array.ChunkPath({1, 2, 0});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string good, ReadFile(path, 1000));
  std::string flipped = good;
  flipped[good.size() / 2] = static_cast<char>(flipped[good.size() / 2] ^ 8);
  for (const std::string& bad :
       {flipped, good.substr(0, good.size() - 1), std::string(),
        good + std::string(100000, 'x')}) {
    INFLUENCE_ASSERT_OK(WriteFileAtomically(path, bad));
    EXPECT_THAT(array.ReadAll(),
                StatusIs(absl::StatusCode::kDataLoss,
                         AllOf(StartsWith(path + ": found"),
                               HasSubstr("it is chunk (1, 2, 0)"))));
    EXPECT_THAT(array.Verify(),
                StatusIs(absl::StatusCode::kDataLoss, StartsWith(path)));
  }
  INFLUENCE_ASSERT_OK(WriteFileAtomically(path, good));
  INFLUENCE_EXPECT_OK(array.Verify());
}

TEST_F(ZarrArrayTest, NamesDamagedMetadata) {
  const ZarrArray array = Write();
  INFLUENCE_ASSERT_OK(WriteFileAtomically(path_ + "/zarr.json", "{\"zarr_fo"));
  EXPECT_THAT(ZarrArray::Open(path_),
              StatusIs(absl::StatusCode::kDataLoss,
                       StartsWith(path_ + "/zarr.json: found")));
  EXPECT_THAT(ZarrGroup::Open(path_),
              StatusIs(absl::StatusCode::kDataLoss,
                       StartsWith(path_ + "/zarr.json: found")));
  EXPECT_THAT(ZarrNodeTypeOf(path_),
              StatusIs(absl::StatusCode::kDataLoss, StartsWith(path_)));
}

TEST_F(ZarrArrayTest, SaysWhatIsNotThere) {
  EXPECT_THAT(ZarrArray::Open(path_),
              StatusIs(absl::StatusCode::kNotFound,
                       StartsWith(path_ + ": found nothing there")));
  fs::create_directories(path_);
  EXPECT_THAT(ZarrArray::Open(path_),
              StatusIs(absl::StatusCode::kNotFound,
                       StartsWith(path_ + ": found no zarr.json in it")));
  EXPECT_THAT(ZarrNodeTypeOf(path_),
              StatusIs(absl::StatusCode::kNotFound, StartsWith(path_)));
}

// An array that does not say it is complete, as other programs write it: they
// leave out chunks that hold the fill value only.
TEST_F(ZarrArrayTest, FillsMissingChunksOfOthers) {
  ZarrArrayMetadata metadata;
  metadata.shape = {3, 2};
  metadata.chunk_shape = {2, 2};
  metadata.dtype = at::kInt;
  metadata.fill_value = c10::Scalar(int64_t{-7});
  fs::create_directories(path_ + "/c/1");
  INFLUENCE_ASSERT_OK(WriteFileAtomically(path_ + "/zarr.json",
                                          *FormatZarrArray("a", metadata)));
  const at::Tensor ones = at::full({2, 2}, 1, at::TensorOptions(at::kInt));
  INFLUENCE_ASSERT_OK(WriteFileAtomically(
      path_ + "/c/1/0", *EncodeZarrChunk("a", metadata, ones)));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArray array, ZarrArray::Open(path_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor values, array.ReadAll());
  EXPECT_TRUE(at::equal(values.slice(0, 0, 2), ones.mul(-7)));
  EXPECT_TRUE(at::equal(values.slice(0, 2, 3), ones.slice(0, 0, 1)));
  INFLUENCE_EXPECT_OK(array.Verify());
}

TEST_F(ZarrArrayTest, ReadsASingleValueAndNoValue) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto store,
                                 ZarrStoreWriter::Create(path_));
  ZarrArrayMetadata single;
  single.dtype = at::kDouble;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(ZarrArrayWriter* const one,
                                 store->AddArray("one", single));
  const at::Tensor value = at::full({}, 1.5, at::TensorOptions(at::kDouble));
  INFLUENCE_ASSERT_OK(one->Write({}, value));
  ZarrArrayMetadata empty;
  empty.shape = {0, 3};
  empty.chunk_shape = {1, 3};
  INFLUENCE_ASSERT_OK(store->AddArray("none", empty).status());
  INFLUENCE_ASSERT_OK(store->Commit());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrGroup group, ZarrGroup::Open(path_));
  EXPECT_TRUE(at::equal(*group.OpenArray("one")->ReadAll(), value));
  EXPECT_THAT(group.OpenArray("none")->ReadAll()->sizes(), ElementsAre(0, 3));
  EXPECT_THAT(group.OpenArray("one")->ReadRows(0, 1),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("without dimensions")));
}

TEST(ZarrNodePathTest, KeepsDotsAndEscapesWhatIsNoName) {
  EXPECT_EQ(*ZarrNodePath("fc1.0.weight"), "fc1.0.weight");
  EXPECT_EQ(*ZarrNodePath("fc1/eigenvalues"), "fc1/eigenvalues");
  EXPECT_EQ(*ZarrNodePath("."), "%2E");
  EXPECT_EQ(*ZarrNodePath(".."), "%2E.");
  EXPECT_EQ(*ZarrNodePath(".lock"), "%2Elock");
  EXPECT_EQ(*ZarrNodePath("__w"), "%5F_w");
  EXPECT_EQ(*ZarrNodePath("zarr.json"), "%7Aarr.json");
  EXPECT_EQ(*ZarrNodePath("a%b\n"), "a%25b%0A");
  EXPECT_EQ(*ZarrNodePath("gr\xc3\xb6\xc3\x9f"
                          "e"),
            "gr\xc3\xb6\xc3\x9f"
            "e");
  for (const char* name : {"", "/a", "a/", "a//b"}) {
    EXPECT_THAT(ZarrNodePath(name), StatusIs(absl::StatusCode::kInvalidArgument,
                                             StartsWith("name: found")));
  }
}

}  // namespace
}  // namespace influence
