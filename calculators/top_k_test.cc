// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/top_k.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calculators/lazy_chunk_sequence.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Integers from -9 to 9: ties everywhere.
at::Tensor RandomScores(int64_t rows, int64_t columns,
                        at::ScalarType dtype = at::kFloat) {
  std::mt19937 random(7);
  at::Tensor scores = at::empty({rows, columns}, at::kDouble);
  for (int64_t i = 0; i < scores.numel(); ++i) {
    scores.data_ptr<double>()[i] = static_cast<double>(random() % 19) - 9;
  }
  return scores.to(dtype);
}

// The same by sorting each row as a whole, ties by the smaller index.
TopKScores SortedScores(const at::Tensor& scores, const TopKOptions& options) {
  const at::Tensor values = scores.to(at::kDouble).contiguous();
  TopKScores top;
  for (const bool helpful : {true, false}) {
    const bool descending = helpful == options.positive_helps;
    at::Tensor indices = at::empty({values.size(0), options.k}, at::kLong);
    at::Tensor kept = at::empty({values.size(0), options.k}, at::kDouble);
    for (int64_t i = 0; i < values.size(0); ++i) {
      const double* const row = values.data_ptr<double>() + i * values.size(1);
      std::vector<int64_t> order(values.size(1));
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        return descending ? row[a] > row[b] : row[a] < row[b];
      });
      for (int64_t e = 0; e < options.k; ++e) {
        indices[i][e].fill_(order[e]);
        kept[i][e].fill_(row[order[e]]);
      }
    }
    (helpful ? top.helpful_indices : top.harmful_indices) = indices;
    (helpful ? top.helpful_scores : top.harmful_scores) =
        kept.to(scores.scalar_type());
  }
  return top;
}

void ExpectSame(const TopKScores& found, const TopKScores& expected) {
  EXPECT_TRUE(found.helpful_indices.equal(expected.helpful_indices))
      << found.helpful_indices << expected.helpful_indices;
  EXPECT_TRUE(found.harmful_indices.equal(expected.harmful_indices))
      << found.harmful_indices << expected.harmful_indices;
  EXPECT_EQ(found.helpful_scores.scalar_type(),
            expected.helpful_scores.scalar_type());
  EXPECT_TRUE(found.helpful_scores.equal(expected.helpful_scores));
  EXPECT_TRUE(found.harmful_scores.equal(expected.harmful_scores));
}

struct Tile {
  int64_t row, column;              // Numbers of the chunks.
  int64_t first_row, first_column;  // Its first entry.
  at::Tensor scores;
};

// Cut at the given extents, in a random order.
std::vector<Tile> CutIntoTiles(const at::Tensor& scores,
                               const std::vector<int64_t>& row_extents,
                               const std::vector<int64_t>& column_extents,
                               unsigned seed) {
  std::vector<Tile> tiles;
  int64_t first_row = 0;
  for (size_t r = 0; r < row_extents.size(); ++r) {
    int64_t first_column = 0;
    for (size_t c = 0; c < column_extents.size(); ++c) {
      tiles.push_back({static_cast<int64_t>(r), static_cast<int64_t>(c),
                       first_row, first_column,
                       scores.narrow(0, first_row, row_extents[r])
                           .narrow(1, first_column, column_extents[c])});
      first_column += column_extents[c];
    }
    first_row += row_extents[r];
  }
  std::shuffle(tiles.begin(), tiles.end(), std::mt19937(seed));
  return tiles;
}

TEST(TopKTest, EqualsSortingWhateverTheTilesAndTheirOrder) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const at::Tensor scores = RandomScores(5, 40, dtype);
    for (const int64_t k : {1, 3, 17, 40}) {
      for (const bool positive_helps : {true, false}) {
        const TopKOptions options = {.k = k, .positive_helps = positive_helps};
        const TopKScores expected = SortedScores(scores, options);
        unsigned seed = 0;
        for (const std::vector<int64_t>& columns :
             {std::vector<int64_t>{40},
              {20, 20},
              {1, 13, 7, 19},
              std::vector<int64_t>(40, 1)}) {
          INFLUENCE_ASSERT_OK_AND_ASSIGN(TopK top,
                                         TopK::Create(5, dtype, options));
          for (const Tile& tile :
               CutIntoTiles(scores, {2, 3}, columns, ++seed)) {
            INFLUENCE_ASSERT_OK(
                top.Add(tile.first_row, tile.first_column, tile.scores));
          }
          INFLUENCE_ASSERT_OK_AND_ASSIGN(const TopKScores found, top.Finish());
          ExpectSame(found, expected);
        }
      }
    }
  }
}

TEST(TopKTest, PartsOfDisjointSamplesMergeIntoTheWhole) {
  const at::Tensor scores = RandomScores(4, 31);
  const TopKOptions options = {.k = 6, .positive_helps = false};
  const TopKScores expected = SortedScores(scores, options);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(TopK whole,
                                 TopK::Create(4, at::kFloat, options));
  // Fewer than K samples in some of the parts, none in another.
  const std::vector<std::pair<int64_t, int64_t>> parts = {
      {27, 31}, {5, 27}, {3, 5}, {0, 3}, {0, 0}};
  for (const auto& [begin, end] : parts) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(TopK part,
                                   TopK::Create(4, at::kFloat, options));
    INFLUENCE_ASSERT_OK(
        part.Add(0, begin, scores.narrow(1, begin, end - begin)));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const TopKScores kept, part.Kept());
    EXPECT_EQ(kept.helpful_indices.eq(-1).sum().item<int64_t>(),
              4 * std::max<int64_t>(6 - (end - begin), 0));
    EXPECT_EQ(kept.helpful_scores.isnan().sum().item<int64_t>(),
              4 * std::max<int64_t>(6 - (end - begin), 0));
    INFLUENCE_ASSERT_OK(whole.Merge(kept));
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const TopKScores found, whole.Finish());
  ExpectSame(found, expected);
}

TEST(TopKTest, APairThatWasGivenTwiceIsFound) {
  const at::Tensor scores = RandomScores(2, 8);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(TopK top,
                                 TopK::Create(2, at::kFloat, {.k = 3}));
  INFLUENCE_ASSERT_OK(top.Add(0, 0, scores));
  INFLUENCE_ASSERT_OK(top.Kept());
  INFLUENCE_ASSERT_OK(top.Add(0, 0, scores));
  EXPECT_THAT(top.Finish(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                     HasSubstr("twice")));
}

TEST(TopKTest, TooFewScoresAreAnError) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(TopK top,
                                 TopK::Create(2, at::kFloat, {.k = 3}));
  INFLUENCE_ASSERT_OK(top.Add(0, 0, RandomScores(2, 2)));
  INFLUENCE_ASSERT_OK(top.Add(0, 2, RandomScores(1, 1)));
  EXPECT_THAT(top.Finish(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("found 2 of query 1, expected at least k = "
                                 "3")));
}

// Query 1 of three has no answer; what there is comes in parts.
TEST(TopKTest, AQueryWithoutAnAnswerRanksNothing) {
  const at::Tensor scores = RandomScores(3, 9);
  scores[1].fill_(kNan);
  const TopKOptions options = {.k = 2};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(TopK whole,
                                 TopK::Create(3, at::kFloat, options));
  // A part without samples knows of no query.
  for (const auto& [begin, end] : std::vector<std::pair<int64_t, int64_t>>{
           {0, 1}, {1, 6}, {6, 6}, {6, 9}}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(TopK part,
                                   TopK::Create(3, at::kFloat, options));
    INFLUENCE_ASSERT_OK(
        part.Add(0, begin, scores.narrow(1, begin, end - begin)));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const TopKScores kept, part.Kept());
    INFLUENCE_ASSERT_OK(whole.Merge(kept));
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const TopKScores found, whole.Finish());
  EXPECT_TRUE(found.helpful_indices[1].eq(kNoSample).all().item<bool>());
  EXPECT_TRUE(found.harmful_indices[1].eq(kNoSample).all().item<bool>());
  EXPECT_TRUE(found.helpful_scores[1].isnan().all().item<bool>());
  EXPECT_TRUE(found.harmful_scores[1].isnan().all().item<bool>());
  const TopKScores expected = SortedScores(
      at::cat({scores.narrow(0, 0, 1), scores.narrow(0, 2, 1)}), options);
  for (const int64_t row : {0, 1}) {
    EXPECT_TRUE(
        found.helpful_indices[2 * row].equal(expected.helpful_indices[row]));
    EXPECT_TRUE(
        found.harmful_scores[2 * row].equal(expected.harmful_scores[row]));
  }
  // Numbers for a query that has none before, and the reverse.
  EXPECT_THAT(whole.Add(1, 9, RandomScores(1, 2)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("numbers and NaN for query 1")));
  const at::Tensor none = RandomScores(1, 2);
  none.fill_(kNan);
  EXPECT_THAT(whole.Add(0, 9, none),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("numbers and NaN for query 0")));
}

TEST(TopKTest, RefusesWhatDoesNotFitAndTakesNothingOfIt) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(TopK top,
                                 TopK::Create(2, at::kFloat, {.k = 1}));
  const auto refused = [&](const at::Tensor& scores, int64_t row,
                           int64_t column, const char* message) {
    EXPECT_THAT(
        top.Add(row, column, scores),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  at::Tensor bad = RandomScores(2, 5);
  bad[1][3].fill_(kNan);
  refused(bad, 0, 10, "found nan at (1, 13), expected finite");
  bad[1][3].fill_(-std::numeric_limits<double>::infinity());
  refused(bad, 0, 0, "found -inf at (1, 3)");
  refused(RandomScores(2, 5, at::kDouble), 0, 0, "found float64");
  refused(RandomScores(2, 5).to(at::kLong), 0, 0, "int64");
  refused(RandomScores(2, 5).unsqueeze(2), 0, 0, "expected [m, n]");
  refused(RandomScores(2, 5), 1, 0, "expected queries below 2");
  refused(RandomScores(2, 5), -1, 0, "at (-1, 0)");
  refused(RandomScores(2, 5), 0, -1, "at (0, -1)");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const TopKScores kept, top.Kept());
  EXPECT_TRUE(kept.helpful_indices.eq(-1).all().item<bool>());

  TopKScores other = kept;
  other.harmful_indices = at::zeros({2, 2}, at::kLong);
  EXPECT_THAT(top.Merge(other), StatusIs(absl::StatusCode::kInvalidArgument,
                                         HasSubstr("indices")));
  other = kept;
  other.helpful_scores = at::zeros({2, 1}, at::kDouble);
  EXPECT_THAT(top.Merge(other), StatusIs(absl::StatusCode::kInvalidArgument,
                                         HasSubstr("found float64")));
  EXPECT_THAT(TopK::Create(2, at::kFloat, {.k = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("k: found 0, expected >= 1")));
  EXPECT_THAT(TopK::Create(2, at::kLong, {.k = 1}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("dtype: found int64")));
}

// A sequence that hands out `scores` in tiles of two by three.
NestedLazyChunkSequence Sequence(const at::Tensor& scores) {
  const int64_t rows = scores.size(0);
  const int64_t columns = scores.size(1);
  return {"scores",
          (rows + 1) / 2,
          (columns + 2) / 3,
          rows,
          columns,
          [scores, rows, columns](int64_t row)
              -> absl::StatusOr<NestedLazyChunkSequence::TileFunction> {
            const at::Tensor of_row =
                scores.narrow(0, 2 * row, std::min<int64_t>(2, rows - 2 * row));
            return [of_row,
                    columns](int64_t column) -> absl::StatusOr<at::Tensor> {
              return of_row.narrow(1, 3 * column,
                                   std::min<int64_t>(3, columns - 3 * column));
            };
          }};
}

TEST(TopKAggregatorTest, ReducesALazySequence) {
  const at::Tensor scores = RandomScores(5, 11, at::kDouble);
  const TopKOptions options = {.k = 4};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const TopKScores found,
      Sequence(scores).Compute(TopKAggregator(options)));
  ExpectSame(found, SortedScores(scores, options));
  // In units of a loss change; used twice.
  TopKAggregator scaled(options, 0.125);
  for (int use = 0; use < 2; ++use) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const TopKScores change,
                                   Sequence(scores).Compute(scaled));
    ExpectSame(change, SortedScores(scores.mul(0.125), options));
  }
}

TEST(TopKAggregatorTest, TilesComeInAnyOrderAndFromAnyThread) {
  const at::Tensor scores = RandomScores(6, 50);
  const TopKOptions options = {.k = 5};
  const TopKScores expected = SortedScores(scores, options);
  for (unsigned seed = 0; seed < 4; ++seed) {
    const std::vector<Tile> tiles =
        CutIntoTiles(scores, {4, 2}, {10, 1, 30, 9}, seed);
    TopKAggregator aggregator(options);
    INFLUENCE_ASSERT_OK(aggregator.Begin(2, 4));
    std::vector<std::thread> threads;
    threads.reserve(2);
    for (size_t worker = 0; worker < 2; ++worker) {
      threads.emplace_back([&, worker] {
        for (size_t t = worker; t < tiles.size(); t += 2) {
          INFLUENCE_EXPECT_OK(
              aggregator.Add(tiles[t].row, tiles[t].column, tiles[t].scores));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const TopKScores found, aggregator.Finish());
    ExpectSame(found, expected);
  }
}

TEST(TopKAggregatorTest, PartsOfOtherTilesMergeIntoTheWhole) {
  const at::Tensor scores = RandomScores(6, 23);
  const TopKOptions options = {.k = 9, .positive_helps = false};
  const std::vector<Tile> tiles =
      CutIntoTiles(scores, {1, 2, 3}, {4, 10, 2, 7}, 3);
  TopKAggregator first(options);
  TopKAggregator second(options);
  TopKAggregator third(options);
  for (TopKAggregator* part : {&first, &second, &third}) {
    INFLUENCE_ASSERT_OK(part->Begin(3, 4));
  }
  for (size_t t = 0; t < tiles.size(); ++t) {
    INFLUENCE_ASSERT_OK(
        (t % 2 == 0 ? first : second)
            .Add(tiles[t].row, tiles[t].column, tiles[t].scores));
  }
  EXPECT_THAT(first.Finish(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                       HasSubstr("found no tile (")));
  INFLUENCE_ASSERT_OK(third.Merge(second));
  INFLUENCE_ASSERT_OK(third.Merge(first));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const TopKScores found, third.Finish());
  ExpectSame(found, SortedScores(scores, options));
  EXPECT_THAT(third.Merge(first),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("in both, expected it in one")));
}

TEST(TopKAggregatorTest, AQueryWithoutAnAnswerRanksNothing) {
  const at::Tensor scores = RandomScores(4, 6);
  scores[3].fill_(kNan);
  TopKAggregator aggregator({.k = 2}, 0.5);
  INFLUENCE_ASSERT_OK(aggregator.Begin(2, 2));
  for (const int64_t tile : {3, 0, 1, 2}) {
    INFLUENCE_ASSERT_OK(aggregator.Add(
        tile / 2, tile % 2,
        scores.narrow(0, tile / 2 * 2, 2).narrow(1, tile % 2 * 3, 3)));
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const TopKScores found, aggregator.Finish());
  EXPECT_TRUE(found.helpful_indices[3].eq(kNoSample).all().item<bool>());
  EXPECT_TRUE(found.harmful_scores[3].isnan().all().item<bool>());
  EXPECT_TRUE(found.helpful_indices.narrow(0, 0, 3).ge(0).all().item<bool>());
  EXPECT_FALSE(found.helpful_scores.narrow(0, 0, 3).isnan().any().item<bool>());
}

TEST(TopKAggregatorTest, RefusesWhatDoesNotFit) {
  TopKAggregator aggregator({.k = 3});
  INFLUENCE_ASSERT_OK(aggregator.Begin(2, 2));
  const auto refused = [&](int64_t row, int64_t column,
                           const at::Tensor& scores, const char* message) {
    EXPECT_THAT(
        aggregator.Add(row, column, scores),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  refused(2, 0, RandomScores(2, 3), "expected one of 2 x 2");
  at::Tensor bad = RandomScores(2, 3);
  bad[1][2].fill_(kNan);
  refused(0, 0, bad, "tile: found nan at (1, 2)");
  refused(0, 0, RandomScores(2, 3).unsqueeze(2), "expected [m, n]");
  INFLUENCE_ASSERT_OK(aggregator.Add(0, 0, RandomScores(2, 3)));
  refused(0, 0, RandomScores(2, 3), "(0, 0) twice");
  refused(0, 1, RandomScores(1, 4), "found 1 queries, expected 2");
  refused(0, 1, RandomScores(2, 3, at::kDouble), "found float64");
  refused(1, 0, RandomScores(2, 4), "found 4 training samples, expected 3");
  EXPECT_THAT(aggregator.Finish(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("found no tile (0, 1)")));

  TopKAggregator other({.k = 4});
  INFLUENCE_ASSERT_OK(other.Begin(2, 2));
  EXPECT_THAT(aggregator.Merge(other),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("the 4 best of 2 x 2")));
  EXPECT_THAT(TopKAggregator({.k = 0}).Begin(1, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("k: ")));
  EXPECT_THAT(TopKAggregator({.k = 1}, -1).Begin(1, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("scale")));
}

TEST(TopKAggregatorTest, KAboveTheNumberOfSamplesIsAnError) {
  EXPECT_THAT(Sequence(RandomScores(3, 7)).Compute(TopKAggregator({.k = 8})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("k: found 8, expected at most the 7 training "
                                 "samples")));
  INFLUENCE_EXPECT_OK(
      Sequence(RandomScores(3, 7)).Compute(TopKAggregator({.k = 7})));
}

}  // namespace
}  // namespace influence
