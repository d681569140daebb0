// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/top_k_tile_sink.h"

#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/tensor.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "calculators/top_k.h"
#include "cli/options.h"
#include "cli/result_output.h"
#include "cli/resume_guard.h"
#include "cli/score_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr TopKOptions kTwo = {.k = 2};

// Three queries in groups of two, five training samples in batches of two.
at::Tensor Scores() {
  return at::tensor({4.0, -1.0, 7.0, 7.0, 0.5,      //
                     -2.0, -3.0, -1.0, -5.0, -4.0,  //
                     1.0, 2.0, 3.0, 4.0, 5.0})
      .reshape({3, 5})
      .to(at::kFloat);
}

at::Tensor Tile(int64_t group, int64_t column) {
  return Scores()
      .narrow(0, 2 * group, group == 1 ? 1 : 2)
      .narrow(1, 2 * column, column == 2 ? 1 : 2);
}

OutputOptions Options() {
  OutputOptions options;
  options.out = absl::StrCat(
      ::testing::TempDir(), "/top_k_",
      ::testing::UnitTest::GetInstance()->current_test_info()->name(), ".zarr");
  return options;
}

std::unique_ptr<ResultOutput> OpenOutput(const OutputOptions& options) {
  auto output = ResultOutput::Open(options);
  INFLUENCE_EXPECT_OK(output);
  RunItems run;
  run.items["kind"] = "top_k";
  INFLUENCE_EXPECT_OK((*output)->Plan(run, [] {
    return nlohmann::ordered_json{{"batch_size", 2}};
  }));
  INFLUENCE_EXPECT_OK((*output)->Begin(at::kFloat, TopKArrays(3, 2, 2)));
  return *std::move(output);
}

nlohmann::ordered_json Attributes() {
  return {{"kind", "top_k"}, {"sign", "positive_helps"}, {"num_train", 5}};
}

std::vector<int64_t> Integers(const at::Tensor& tensor) {
  const at::Tensor values = tensor.contiguous();
  return {values.data_ptr<int64_t>(),
          values.data_ptr<int64_t>() + values.numel()};
}

void ExpectTheStrongest(const std::string& path, double scale) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ScoreFile file, ScoreFile::Open(path));
  EXPECT_FALSE(file.keeps_all());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const TopKScores top, file.Top(2, 3));
  EXPECT_THAT(Integers(top.helpful_indices), ElementsAre(2, 3, 2, 0, 4, 3));
  EXPECT_THAT(Integers(top.harmful_indices), ElementsAre(1, 4, 3, 4, 0, 1));
  EXPECT_EQ(top.helpful_scores.scalar_type(), at::kFloat);
  EXPECT_EQ(top.helpful_scores[0][1].item<double>(), 7 * scale);
  EXPECT_EQ(top.harmful_scores[1][0].item<double>(), -5 * scale);
}

TEST(TopKTileSinkTest, WritesTheStrongestOfEachGroup) {
  const OutputOptions options = Options();
  std::filesystem::remove_all(options.out);
  const std::unique_ptr<ResultOutput> output = OpenOutput(options);
  TopKTileSink sink(output.get(), kTwo, 2, 2, 3, 0.5);
  // In any order, groups interleaved.
  for (const int64_t tile : {5, 0, 2, 3, 1, 4}) {
    EXPECT_TRUE(sink.Wants(tile / 3, tile % 3));
    INFLUENCE_ASSERT_OK(
        sink.Add(0, tile / 3, tile % 3, Tile(tile / 3, tile % 3)));
  }
  EXPECT_FALSE(sink.Wants(0, 0));
  EXPECT_FALSE(sink.Wants(1, 2));
  INFLUENCE_ASSERT_OK(output->Commit(Attributes()));
  ExpectTheStrongest(options.out, 0.5);
}

TEST(TopKTileSinkTest, AStoppedRunGoesOnGroupByGroup) {
  OutputOptions options = Options();
  std::filesystem::remove_all(options.out);
  std::filesystem::remove_all(options.out + ".incomplete");
  {
    const std::unique_ptr<ResultOutput> output = OpenOutput(options);
    TopKTileSink sink(output.get(), kTwo, 2, 2, 3, 1);
    for (int64_t column = 0; column < 3; ++column) {
      INFLUENCE_ASSERT_OK(sink.Add(0, 0, column, Tile(0, column)));
    }
    // Lost with the process.
    INFLUENCE_ASSERT_OK(sink.Add(0, 1, 0, Tile(1, 0)));
  }
  options.resume = true;
  const std::unique_ptr<ResultOutput> output = OpenOutput(options);
  TopKTileSink sink(output.get(), kTwo, 2, 2, 3, 1);
  for (int64_t column = 0; column < 3; ++column) {
    EXPECT_FALSE(sink.Wants(0, column));
    EXPECT_TRUE(sink.Wants(1, column));
    INFLUENCE_ASSERT_OK(sink.Add(0, 1, column, Tile(1, column)));
  }
  INFLUENCE_ASSERT_OK(output->Commit(Attributes()));
  ExpectTheStrongest(options.out, 1);
}

TEST(TopKTileSinkTest, AScoreThatIsNotFiniteEndsTheRun) {
  const OutputOptions options = Options();
  std::filesystem::remove_all(options.out);
  const std::unique_ptr<ResultOutput> output = OpenOutput(options);
  TopKTileSink sink(output.get(), kTwo, 2, 2, 3, 1);
  at::Tensor tile = Tile(0, 1).clone();
  tile[1][0].fill_(std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT(sink.Add(0, 0, 1, tile),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found NaN at index [1, 0]")));
}

}  // namespace
}  // namespace influence
