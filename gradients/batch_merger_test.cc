// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/batch_merger.h"

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/full.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Batches that are given one by one.
class ListSequence : public BatchSequence {
 public:
  explicit ListSequence(std::vector<Batch> batches)
      : batches_(std::move(batches)) {}

  int64_t num_batches() const override {
    return static_cast<int64_t>(batches_.size());
  }
  int64_t num_samples() const override {
    int64_t sum = 0;
    for (const Batch& batch : batches_) sum += batch.size();
    return sum;
  }
  absl::StatusOr<Batch> Get(int64_t index) const override {
    ++num_reads_;
    return batches_[index];
  }
  int num_reads() const { return num_reads_; }

 private:
  std::vector<Batch> batches_;
  mutable int num_reads_ = 0;
};

// `size` samples of `width` features, all of them `value`.
Batch Samples(int64_t size, double value, int64_t width = 2) {
  return {{at::full({size, width}, value, at::kDouble)},
          at::full({size}, value, at::kDouble)};
}

// The numbers of batches that are put together.
std::vector<int64_t> Groups(const BatchSequence& data,
                            const BatchMergeLimits& limits) {
  BatchMerger merger(data, limits);
  std::vector<int64_t> groups;
  while (true) {
    absl::StatusOr<std::optional<MergedBatch>> next = merger.Next();
    EXPECT_THAT(next, IsOk());
    if (!next.ok() || !next->has_value()) return groups;
    groups.push_back((*next)->num_batches);
  }
}

TEST(BatchMergerTest, KeepsAllSamplesInTheirOrder) {
  Batch all = {
      {at::arange(14, at::kDouble).reshape({7, 2}), at::arange(7, at::kLong)},
      at::arange(7, at::kLong)};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto data,
                                 TensorBatchSequence::Create(all, 2));
  BatchMerger merger(data, {4, 100});
  std::vector<at::Tensor> x0;
  std::vector<at::Tensor> x1;
  std::vector<at::Tensor> y;
  for (int i = 0; i < 2; ++i) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(auto merged, merger.Next());
    ASSERT_TRUE(merged.has_value());
    EXPECT_EQ(merged->num_batches, 2);
    x0.push_back(merged->batch.x[0]);
    x1.push_back(merged->batch.x[1]);
    y.push_back(merged->batch.y);
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto end, merger.Next());
  EXPECT_FALSE(end.has_value());
  EXPECT_TRUE(at::cat(x0).equal(all.x[0]));
  EXPECT_TRUE(at::cat(x1).equal(all.x[1]));
  EXPECT_TRUE(at::cat(y).equal(all.y));
}

TEST(BatchMergerTest, StopsBeforeALimitAndReadsEveryBatchOnce) {
  const ListSequence data({Samples(2, 0), Samples(1, 1), Samples(3, 2),
                           Samples(9, 3), Samples(1, 4), Samples(1, 5)});
  EXPECT_THAT(Groups(data, {4, 1000}), ElementsAre(2, 1, 1, 2));
  EXPECT_EQ(data.num_reads(), 6);
  EXPECT_THAT(Groups(data, {1000, 1000}), ElementsAre(6));
  // Three scalars a sample.
  EXPECT_THAT(Groups(data, {1000, 12}), ElementsAre(2, 1, 1, 2));
  EXPECT_THAT(Groups(data, {1, 1}), ElementsAre(1, 1, 1, 1, 1, 1));
}

TEST(BatchMergerTest, LeavesBatchesOfOtherShapesApart) {
  const ListSequence data(
      {Samples(2, 0, 3), Samples(2, 1, 3), Samples(2, 2, 5), Samples(2, 3, 5)});
  EXPECT_THAT(Groups(data, {100, 1000}), ElementsAre(2, 2));
}

TEST(BatchMergerTest, NamesABadBatch) {
  Batch bad = Samples(2, 1);
  bad.x[0] = Samples(3, 1).x[0];
  const ListSequence data({Samples(2, 0), bad});
  BatchMerger merger(data, {100, 1000});
  EXPECT_THAT(merger.Next(), StatusIs(absl::StatusCode::kInvalidArgument,
                                      HasSubstr("x0: found 3 samples")));
}

TEST(BatchMergerTest, LargeModelsMergeNothing) {
  EXPECT_EQ(MergeLimitsForModel(100).max_samples, 4096);
  EXPECT_EQ(MergeLimitsForModel(2410).max_samples, 1740);
  EXPECT_EQ(MergeLimitsForModel(int64_t{1} << 23).max_samples, 0);
}

}  // namespace
}  // namespace influence
