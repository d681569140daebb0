// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/score_file.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/full.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "calculators/top_k.h"
#include "calculators/zarr_format.h"
#include "calculators/zarr_store_writer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Path(const std::string& name) {
  const std::string folder = absl::StrCat(
      ::testing::TempDir(), "/score_file_",
      ::testing::UnitTest::GetInstance()->current_test_info()->name());
  std::filesystem::create_directories(folder);
  const std::string path = absl::StrCat(folder, "/", name);
  std::filesystem::remove_all(path);
  return path;
}

ZarrAttributes Attributes(const std::string& kind, const std::string& sign) {
  ZarrAttributes attributes;
  attributes["kind"] = kind;
  attributes["mode"] = "up";
  attributes["sign"] = sign;
  attributes["num_train"] = 5;
  attributes["fingerprints"] = {{"train", "ab12"}};
  return attributes;
}

struct NamedArray {
  std::string name;
  at::Tensor values;
};

// Writes a store in chunks of two by two.
std::string WriteStore(const std::string& name,
                       const ZarrAttributes& attributes,
                       const std::vector<NamedArray>& arrays) {
  std::string path = Path(name);
  auto store = ZarrStoreWriter::Create(path);
  INFLUENCE_EXPECT_OK(store);
  for (const NamedArray& array : arrays) {
    ZarrArrayMetadata metadata;
    metadata.shape = array.values.sizes().vec();
    metadata.chunk_shape.assign(metadata.shape.size(), 2);
    metadata.dtype = array.values.scalar_type();
    auto writer = (*store)->AddArray(array.name, std::move(metadata));
    INFLUENCE_EXPECT_OK(writer);
    INFLUENCE_EXPECT_OK((*writer)->Write(
        std::vector<int64_t>(array.values.dim(), 0), array.values));
  }
  INFLUENCE_EXPECT_OK((*store)->Commit(attributes));
  return path;
}

// Three queries and five training samples.
at::Tensor Scores() {
  return at::tensor({4.0, -1.0, 7.0, 7.0, 0.5,      //
                     -2.0, -3.0, -1.0, -5.0, -4.0,  //
                     1.0, 2.0, 3.0, 4.0, 5.0})
      .reshape({3, 5});
}

std::vector<int64_t> Integers(const at::Tensor& tensor) {
  const at::Tensor values = tensor.contiguous();
  return {values.data_ptr<int64_t>(),
          values.data_ptr<int64_t>() + values.numel()};
}

// What keeps the two strongest of Scores().
std::vector<NamedArray> TopArrays() {
  const auto indices = [](std::vector<int64_t> values) {
    return at::tensor(values).reshape({3, 2});
  };
  const auto scores = [](std::vector<double> values) {
    return at::tensor(values).reshape({3, 2}).to(at::kFloat);
  };
  return {{"helpful_indices", indices({2, 3, 2, 0, 4, 3})},
          {"helpful_scores", scores({7, 7, -1, -2, 5, 4})},
          {"harmful_indices", indices({1, 4, 3, 4, 0, 1})},
          {"harmful_scores", scores({-1, 0.5, -5, -4, 1, 2})}};
}

TEST(ScoreFileTest, FindsTheStrongestOfAllScoresChunkByChunk) {
  const std::string path = WriteStore(
      "s.zarr", Attributes("scores", "positive_helps"), {{"", Scores()}});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ScoreFile file, ScoreFile::Open(path));
  EXPECT_EQ(file.path(), path);
  EXPECT_EQ(file.num_queries(), 3);
  EXPECT_EQ(file.num_train(), 5);
  EXPECT_EQ(file.largest_k(), 5);
  EXPECT_TRUE(file.keeps_all());
  EXPECT_TRUE(file.positive_helps());
  EXPECT_EQ(file.Text("mode"), "up");
  EXPECT_EQ(file.Text("num_train"), "");  // No text.
  EXPECT_EQ(file.Fingerprint("train"), "ab12");
  EXPECT_EQ(file.Fingerprint("test"), "");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const TopKScores top, file.Top(2, 3));
  EXPECT_THAT(Integers(top.helpful_indices), ElementsAre(2, 3, 2, 0, 4, 3));
  EXPECT_THAT(Integers(top.harmful_indices), ElementsAre(1, 4, 3, 4, 0, 1));
  EXPECT_EQ(top.helpful_scores.scalar_type(), at::kDouble);
  EXPECT_EQ(top.harmful_scores[1][0].item<double>(), -5);
  // The first query only, of a chunk with two.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const TopKScores one, file.Top(5, 1));
  EXPECT_THAT(Integers(one.helpful_indices), ElementsAre(2, 3, 0, 4, 1));
  double sum = 0;
  INFLUENCE_ASSERT_OK(
      file.ForEachTile(2, [&](int64_t row, const at::Tensor& scores) {
        EXPECT_EQ(row, 0);
        sum += scores.sum().item<double>();
        return absl::OkStatus();
      }));
  EXPECT_EQ(sum, Scores().narrow(0, 0, 2).sum().item<double>());
}

TEST(ScoreFileTest, TheSignSaysWhichEndHelps) {
  const std::string path = WriteStore(
      "s.zarr", Attributes("scores", "negative_helps"), {{"", Scores()}});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ScoreFile file, ScoreFile::Open(path));
  EXPECT_FALSE(file.positive_helps());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const TopKScores top, file.Top(1, 3));
  EXPECT_THAT(Integers(top.helpful_indices), ElementsAre(1, 3, 0));
  EXPECT_THAT(Integers(top.harmful_indices), ElementsAre(2, 2, 4));
}

TEST(ScoreFileTest, ReadsWhatKeepsTheStrongestOnly) {
  const std::string path =
      WriteStore("s.zarr", Attributes("top_k", "positive_helps"), TopArrays());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ScoreFile file, ScoreFile::Open(path));
  EXPECT_EQ(file.num_queries(), 3);
  EXPECT_EQ(file.num_train(), 5);
  EXPECT_EQ(file.largest_k(), 2);
  EXPECT_FALSE(file.keeps_all());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const TopKScores top, file.Top(1, 2));
  EXPECT_THAT(Integers(top.helpful_indices), ElementsAre(2, 2));
  EXPECT_THAT(Integers(top.harmful_indices), ElementsAre(1, 3));
  EXPECT_THAT(file.Top(3, 2),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found k 3 of 2 queries, expected k from 1 to "
                                 "2")));
  EXPECT_THAT(file.Top(0, 2),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("k 0")));
  int64_t seen = 0;
  INFLUENCE_ASSERT_OK(
      file.ForEachTile(2, [&](int64_t /*row*/, const at::Tensor& scores) {
        seen += scores.numel();
        return absl::OkStatus();
      }));
  EXPECT_EQ(seen, 8);
}

TEST(ScoreFileTest, OtherStoresAreRefusedByName) {
  const auto refused = [](const std::string& path, absl::StatusCode code,
                          const std::string& message) {
    EXPECT_THAT(ScoreFile::Open(path),
                StatusIs(code, AllOf(HasSubstr(path), HasSubstr(message))));
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  constexpr auto kDamaged = absl::StatusCode::kDataLoss;
  refused(WriteStore("self.zarr", Attributes("self", "positive_helps"),
                     {{"", at::zeros({4})}}),
          kInvalid, "found self, expected a .zarr store of influence scores");
  refused(WriteStore("other.zarr", ZarrAttributes::object(), {{"", Scores()}}),
          kInvalid, "an array of another program");
  refused(WriteStore("moved.zarr", Attributes("scores", "positive_helps"),
                     {{"", at::zeros({2, 2, 2})}}),
          kInvalid, "found scores of mode up, float32 [2, 2, 2]");
  refused(WriteStore("blocks.zarr", Attributes("scores", "positive_helps"),
                     {{"fc1", Scores()}, {"fc2", Scores()}}),
          kInvalid, "several arrays of scores");
  refused(WriteStore("sign.zarr", Attributes("scores", "up"), {{"", Scores()}}),
          kDamaged, "found sign up, expected positive_helps");
  refused(Path("none.zarr"), absl::StatusCode::kNotFound, "nothing there");

  std::vector<NamedArray> arrays = TopArrays();
  arrays[3].values = at::zeros({3, 3});
  refused(
      WriteStore("shape.zarr", Attributes("top_k", "positive_helps"), arrays),
      kDamaged, "harmful_scores: found float32 [3, 3]");
  arrays.pop_back();
  refused(
      WriteStore("fewer.zarr", Attributes("top_k", "positive_helps"), arrays),
      absl::StatusCode::kNotFound, "harmful_scores");
  ZarrAttributes attributes = Attributes("top_k", "positive_helps");
  attributes["num_train"] = 1;
  refused(WriteStore("count.zarr", attributes, TopArrays()), kDamaged,
          "num_train");
}

TEST(ScoreFileTest, DamageAndUnfinishedRunsAreNamed) {
  const std::string path = WriteStore(
      "s.zarr", Attributes("scores", "positive_helps"), {{"", Scores()}});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ScoreFile file, ScoreFile::Open(path));
  std::filesystem::remove(path + "/c/1/2");
  EXPECT_THAT(file.Top(1, 3), StatusIs(absl::StatusCode::kDataLoss,
                                       HasSubstr(path + "/c/1/2")));
  INFLUENCE_EXPECT_OK(file.Top(1, 2));  // Has no part in the chunk.
  std::ofstream(path + "/c/1/2", std::ios::binary) << "nonsense";
  EXPECT_THAT(file.Top(1, 3), StatusIs(absl::StatusCode::kDataLoss,
                                       HasSubstr(path + "/c/1/2")));

  at::Tensor scores = Scores();
  scores[2][1].fill_(std::numeric_limits<double>::quiet_NaN());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const ScoreFile bad,
      ScoreFile::Open(WriteStore(
          "nan.zarr", Attributes("scores", "positive_helps"), {{"", scores}})));
  EXPECT_THAT(bad.Top(1, 3),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("nan.zarr: scores: found nan at (2, 1)")));

  std::vector<NamedArray> arrays = TopArrays();
  arrays[0].values = at::full({3, 2}, 5, at::kLong);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const ScoreFile far,
      ScoreFile::Open(WriteStore(
          "far.zarr", Attributes("top_k", "positive_helps"), arrays)));
  EXPECT_THAT(far.Top(1, 3), StatusIs(absl::StatusCode::kDataLoss,
                                      HasSubstr("expected training samples "
                                                "below 5")));

  const std::string unfinished = Path("half.zarr");
  std::filesystem::rename(path, unfinished + ".incomplete");
  EXPECT_THAT(ScoreFile::Open(unfinished),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("half.zarr.incomplete of an unfinished run")));
}

}  // namespace
}  // namespace influence
