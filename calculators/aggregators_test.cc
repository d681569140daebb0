// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/aggregators.h"

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/full.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calculators/chunk_sink.h"
#include "calculators/lazy_chunk_sequence.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

LazyChunkSequence Sequence(std::vector<at::Tensor> chunks) {
  int64_t rows = 0;
  for (const at::Tensor& chunk : chunks) rows += chunk.size(0);
  const int64_t count = chunks.size();
  return LazyChunkSequence(
      "chunks", count, rows,
      [chunks](int64_t i) -> absl::StatusOr<at::Tensor> { return chunks[i]; });
}

// `tiles` row by row, `columns` in a row.
NestedLazyChunkSequence Nested(std::vector<at::Tensor> tiles, int64_t columns) {
  const int64_t rows = tiles.size() / columns;
  return NestedLazyChunkSequence(
      "tiles", rows, columns, 0, 0,
      [tiles, columns](
          int64_t i) -> absl::StatusOr<NestedLazyChunkSequence::TileFunction> {
        return [=](int64_t j) -> absl::StatusOr<at::Tensor> {
          return tiles[i * columns + j];
        };
      });
}

at::Tensor Ones(at::IntArrayRef shape, double value = 1,
                at::ScalarType dtype = at::kDouble) {
  return at::full(shape, value, at::TensorOptions(dtype));
}

// A user's own: the sum of all entries.
class SumAggregator : public NestedSequenceAggregator<double> {
 public:
  absl::Status Begin(int64_t, int64_t) override {
    sum_ = 0;
    return absl::OkStatus();
  }
  absl::Status Add(int64_t, int64_t, const at::Tensor& tile) override {
    sum_ += tile.sum().item<double>();
    return absl::OkStatus();
  }
  absl::StatusOr<double> Finish() override { return sum_; }

 private:
  double sum_ = 0;
};

TEST(AggregatorsTest, ListKeepsTheChunks) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::vector<at::Tensor> chunks,
      Sequence({Ones({2, 3}), Ones({1, 3}, 5)}).Compute(ListAggregator()));
  ASSERT_EQ(chunks.size(), 2);
  EXPECT_TRUE(at::equal(chunks[0], Ones({2, 3})));
  EXPECT_TRUE(at::equal(chunks[1], Ones({1, 3}, 5)));
}

TEST(AggregatorsTest, CatJoinsAlongTheFirstDimension) {
  const at::Tensor whole =
      at::arange(14, at::TensorOptions(at::kFloat)).reshape({7, 2});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor joined,
      Sequence(
          {whole.slice(0, 0, 3), whole.slice(0, 3, 6), whole.slice(0, 6, 7)})
          .Compute(CatAggregator()));
  EXPECT_TRUE(at::equal(joined, whole));
}

TEST(AggregatorsTest, CatRefusesAnotherShapeOrDtype) {
  EXPECT_THAT(
      Sequence({Ones({2, 3}), Ones({2, 4})}).Compute(CatAggregator()),
      StatusIs(absl::StatusCode::kInvalidArgument,
               "chunks chunk 1 of 2: chunk: found float64 [2, 4], expected to "
               "continue float64 [2, 3] along dimension 0"));
  EXPECT_THAT(Sequence({Ones({2, 3}), Ones({2, 3}, 1, at::kFloat)})
                  .Compute(CatAggregator()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found float32 [2, 3]")));
  // torch::cat() would skip it.
  EXPECT_THAT(Sequence({Ones({2, 3}), Ones({0})}).Compute(CatAggregator()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found float64 [0]")));
}

TEST(AggregatorsTest, NestedCatJoinsRowsAndColumns) {
  const at::Tensor whole =
      at::arange(3 * 5 * 2, at::TensorOptions(at::kFloat)).reshape({3, 5, 2});
  std::vector<at::Tensor> tiles;
  for (int64_t i = 0; i < 2; ++i) {
    for (int64_t j = 0; j < 3; ++j) {
      tiles.push_back(
          whole.slice(0, 2 * i, 2 * i + 2).slice(1, 2 * j, 2 * j + 2));
    }
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor joined, Nested(tiles, 3).Compute(NestedCatAggregator()));
  EXPECT_TRUE(at::equal(joined, whole));
}

TEST(AggregatorsTest, NestedCatRefusesRaggedTiles) {
  EXPECT_THAT(
      Nested({Ones({2, 3}), Ones({1, 3})}, 2).Compute(NestedCatAggregator()),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("tile (0, 1) of 1 x 2: tile: found float64 [1, 3]")));
  EXPECT_THAT(
      Nested({Ones({2, 3}), Ones({2, 4})}, 1).Compute(NestedCatAggregator()),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("row of tiles: found float64 [2, 4]")));
}

TEST(AggregatorsTest, ForgetAnEarlierRunThatFailed) {
  NestedCatAggregator aggregator;
  ASSERT_FALSE(
      Nested({Ones({2, 3}), Ones({1, 3})}, 2).Compute(aggregator).ok());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor joined,
                                 Nested({Ones({4, 1})}, 1).Compute(aggregator));
  EXPECT_TRUE(at::equal(joined, Ones({4, 1})));
}

TEST(AggregatorsTest, OnesOwnBySubclassing) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const double sum,
      Nested({Ones({2, 3}), Ones({2, 1}, 4)}, 2).Compute(SumAggregator()));
  EXPECT_EQ(sum, 14);
}

}  // namespace
}  // namespace influence
