// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/sample_range.h"

#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/equal.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "base/thread_team.h"
#include "gmock/gmock.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Ten samples 0, 1, ..., in batches of four, four and two, that count how often
// each batch is read.
class Numbers : public BatchSequence {
 public:
  int64_t num_batches() const override { return 3; }
  int64_t num_samples() const override { return 10; }
  absl::StatusOr<Batch> Get(int64_t index) const override {
    ++reads[index];
    const at::Tensor all = at::arange(10, at::kDouble);
    const int64_t begin = 4 * index;
    const int64_t size = index == 2 ? 2 : 4;
    return Batch{{all.narrow(0, begin, size).unsqueeze(1)},
                 all.narrow(0, begin, size)};
  }
  absl::StatusOr<int64_t> BatchSize(int64_t index) const override {
    return index == 2 ? 2 : 4;
  }

  mutable std::vector<int> reads = {0, 0, 0};
};

// The first samples and the sizes of the batches of [begin, end).
struct Cut {
  std::vector<int64_t> first, sizes;
};

Cut CutOf(const BatchSequence& range) {
  Cut cut;
  int64_t num_samples = 0;
  for (int64_t i = 0; i < range.num_batches(); ++i) {
    const absl::StatusOr<Batch> batch = range.Get(i);
    INFLUENCE_EXPECT_OK(batch.status());
    EXPECT_TRUE(at::equal(batch->x[0].squeeze(1), batch->y));
    cut.first.push_back(static_cast<int64_t>(batch->y[0].item<double>()));
    cut.sizes.push_back(batch->size());
    EXPECT_EQ(*range.BatchSize(i), batch->size());
    num_samples += batch->size();
  }
  EXPECT_EQ(range.num_samples(), num_samples);
  return cut;
}

TEST(SampleRangeTest, KeepsTheBatchesAndCutsTheEnds) {
  const auto data = std::make_shared<const Numbers>();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto range,
                                 SampleRange::Create(data, 2, 9));
  const Cut cut = CutOf(*range);
  EXPECT_THAT(cut.first, ElementsAre(2, 4, 8));
  EXPECT_THAT(cut.sizes, ElementsAre(2, 4, 1));
  EXPECT_THAT(range->Get(3), StatusIs(absl::StatusCode::kOutOfRange,
                                      HasSubstr("found index 3")));
}

TEST(SampleRangeTest, ReadsNoOtherBatches) {
  const auto data = std::make_shared<const Numbers>();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto range,
                                 SampleRange::Create(data, 4, 7));
  EXPECT_THAT(CutOf(*range).first, ElementsAre(4));
  EXPECT_THAT(data->reads, ElementsAre(0, 1, 0));
}

TEST(SampleRangeTest, MayBeEmpty) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto range,
      SampleRange::Create(std::make_shared<const Numbers>(), 4, 4));
  EXPECT_EQ(range->num_samples(), 0);
  EXPECT_THAT(CutOf(*range).sizes, IsEmpty());
}

TEST(SampleRangeTest, RefusesOtherRanges) {
  const auto data = std::make_shared<const Numbers>();
  EXPECT_THAT(
      SampleRange::Create(data, 3, 11),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("found [3, 11), expected a range within [0, 10)")));
  EXPECT_THAT(
      SampleRange::Create(data, 3, 2),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("found [3, 2)")));
  EXPECT_THAT(
      SampleRange::Create(nullptr, 0, 0),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("data: is null")));
}

// Every sample is one rank's, also where there are more ranks than samples.
TEST(SampleRangeTest, RanksCoverTheData) {
  const auto data = std::make_shared<const Numbers>();
  for (const int size : {1, 2, 3, 12}) {
    SCOPED_TRACE(size);
    std::vector<int64_t> counts(size);
    INFLUENCE_ASSERT_OK(FirstError(
        RunThreadTeam(size, [&](Communicator& communicator) -> absl::Status {
          absl::StatusOr<std::shared_ptr<const BatchSequence>> mine =
              SamplesOfRank(data, &communicator);
          if (!mine.ok()) return mine.status();
          counts[communicator.rank()] = (*mine)->num_samples();
          return absl::OkStatus();
        })));
    int64_t sum = 0;
    for (const int64_t count : counts) {
      sum += count;
      EXPECT_LE(count, (10 + size - 1) / size);
    }
    EXPECT_EQ(sum, 10);
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto all, SamplesOfRank(data, nullptr));
  EXPECT_EQ(all, data);
}

}  // namespace
}  // namespace influence
