// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/batch_sequence.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/ones.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/batch.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

Batch SevenSamples() {
  return {{at::arange(14, at::kDouble).reshape({7, 2})},
          at::arange(7, at::kLong)};
}

TEST(BatchSequenceTest, CutsInOrderWithAShorterLastBatch) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const TensorBatchSequence sequence,
      TensorBatchSequence::Create(SevenSamples(), 3));
  EXPECT_EQ(sequence.num_batches(), 3);
  EXPECT_EQ(sequence.num_samples(), 7);
  std::vector<int64_t> sizes;
  std::vector<at::Tensor> x;
  std::vector<at::Tensor> y;
  for (int64_t i = 0; i < sequence.num_batches(); ++i) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch batch, sequence.Get(i));
    sizes.push_back(batch.size());
    x.push_back(batch.x[0]);
    y.push_back(batch.y);
  }
  EXPECT_THAT(sizes, testing::ElementsAre(3, 3, 1));
  EXPECT_THAT(at::cat(x), TensorNear(SevenSamples().x[0], 0));
  EXPECT_THAT(at::cat(y), TensorNear(SevenSamples().y, 0));
}

TEST(BatchSequenceTest, AnExactFitHasNoEmptyBatch) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const TensorBatchSequence sequence,
      TensorBatchSequence::Create(SevenSamples(), 7));
  EXPECT_EQ(sequence.num_batches(), 1);
}

TEST(BatchSequenceTest, ABatchMayBeLargerThanTheData) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const TensorBatchSequence sequence,
      TensorBatchSequence::Create(SevenSamples(), INT64_MAX));
  EXPECT_EQ(sequence.num_batches(), 1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch batch, sequence.Get(0));
  EXPECT_EQ(batch.size(), 7);
}

TEST(BatchSequenceTest, RefusesAnIndexOutOfRange) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const TensorBatchSequence sequence,
      TensorBatchSequence::Create(SevenSamples(), 3));
  EXPECT_THAT(sequence.Get(3),
              StatusIs(absl::StatusCode::kOutOfRange,
                       std::string("batch: found index 3, expected [0, 3)")));
  EXPECT_THAT(sequence.Get(-1),
              StatusIs(absl::StatusCode::kOutOfRange,
                       std::string("batch: found index -1, expected [0, 3)")));
}

TEST(BatchSequenceTest, RefusesBadDataAndBatchSizes) {
  EXPECT_THAT(TensorBatchSequence::Create(SevenSamples(), 0),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       std::string("batch size: found 0, expected >= 1")));
  EXPECT_THAT(TensorBatchSequence::Create({{at::ones({2})}, at::ones({3})}, 1),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       std::string("x0: found 2 samples, expected 3 as in y")));
}

TEST(OneBatchSequenceTest, GivesOneBatchOfASequence) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      TensorBatchSequence sequence,
      TensorBatchSequence::Create(SevenSamples(), 3));
  const OneBatchSequence last(
      std::make_shared<const TensorBatchSequence>(std::move(sequence)),
      /*index=*/2, /*num_samples=*/1);
  EXPECT_EQ(last.num_batches(), 1);
  EXPECT_EQ(last.num_samples(), 1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch only, last.Get(0));
  EXPECT_THAT(only.x[0], TensorNear(SevenSamples().x[0].narrow(0, 6, 1), 0));
  EXPECT_THAT(last.Get(1), StatusIs(absl::StatusCode::kOutOfRange,
                                    HasSubstr("found index 1")));
}

}  // namespace
}  // namespace influence
