// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/score_tiles.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/equal.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "base/thread_team.h"
#include "calculators/tile_schedule.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gradients/tensor_map.h"
#include "gtest/gtest.h"
#include "influence/cg_influence.h"
#include "influence/composable_influence.h"
#include "influence/curvature_products.h"
#include "influence/direct_influence.h"
#include "influence/prepared_queries.h"
#include "influence/regularization.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kTolerance = 1e-12;

std::shared_ptr<const BatchSequence> Sequence(const Batch& data,
                                              int64_t batch_size) {
  return std::make_shared<const TensorBatchSequence>(
      *TensorBatchSequence::Create(data, batch_size));
}

// Keeps the tiles, and what it was told of groups.
class Collector : public ScoreTileSink {
 public:
  explicit Collector(size_t num_arrays) : num_arrays_(num_arrays) {}

  bool Wants(int64_t group, int64_t column) const override {
    return unwanted.count({group, column}) == 0;
  }

  absl::Status Prepared(
      int64_t group, const std::vector<BlockSolveReports>& reports) override {
    prepared.push_back(group);
    num_reports += reports.empty() ? 0 : reports[0].reports.size();
    return absl::OkStatus();
  }

  absl::Status Add(size_t array, int64_t group, int64_t column,
                   const at::Tensor& tile) override {
    EXPECT_LT(array, num_arrays_);
    EXPECT_TRUE(tiles.emplace(std::tuple(array, group, column), tile).second);
    return error;
  }

  std::set<std::pair<int64_t, int64_t>> unwanted;
  std::map<std::tuple<size_t, int64_t, int64_t>, at::Tensor> tiles;
  std::vector<int64_t> prepared;
  size_t num_reports = 0;
  absl::Status error = absl::OkStatus();

 private:
  size_t num_arrays_;
};

// A direct fit of a small network, seven training samples, five queries.
class ScoreTilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto model = TanhMlp({3, 4, 2}, at::kDouble, 1);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        std::shared_ptr<const GradientProvider> provider,
        AutogradGradientProvider::Create(model, CrossEntropyLoss()));
    DirectInfluenceOptions options;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(options.regularization,
                                   Regularization::Constant(2));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        std::unique_ptr<DirectInfluence> direct,
        DirectInfluence::Create(
            provider, ParameterBlocks::Create(*model, BlockStructure::kLayer),
            options));
    INFLUENCE_ASSERT_OK(direct->Fit(Sequence(train_, 4)));
    model_ = std::move(direct);
  }

  // The arrays put together from their tiles.
  std::vector<at::Tensor> Compute(const QueryGroups& queries,
                                  const ScoreArrays& scores, size_t count) {
    Collector sink(count);
    CounterTileSchedule schedule(queries.num_groups * 3);
    INFLUENCE_EXPECT_OK(ForEachScoreTile(queries, *Sequence(train_, 3), scores,
                                         schedule, queries.num_groups * 3, sink,
                                         nullptr));
    std::vector<at::Tensor> arrays;
    for (size_t array = 0; array < count; ++array) {
      std::vector<at::Tensor> rows;
      for (int64_t group = 0; group < queries.num_groups; ++group) {
        rows.push_back(at::cat(
            {sink.tiles[{array, group, 0}], sink.tiles[{array, group, 1}],
             sink.tiles[{array, group, 2}]},
            1));
      }
      arrays.push_back(at::cat(rows));
    }
    return arrays;
  }

  // Conjugate gradients for the same data.
  std::shared_ptr<const ComposableInfluence> FittedCg(
      Communicator* communicator, bool forms = true) const {
    const std::shared_ptr<const GradientProvider> provider =
        *AutogradGradientProvider::Create(TanhMlp({3, 4, 2}, at::kDouble, 1),
                                          CrossEntropyLoss());
    CgInfluenceOptions options;
    options.regularization = *Regularization::Constant(2);
    options.relative_tolerance = 1e-12;
    options.products.kind =
        forms ? CurvatureProducts::kFormed : CurvatureProducts::kMatrixFree;
    if (communicator != nullptr) {
      options.communicator =
          std::shared_ptr<Communicator>(std::shared_ptr<void>(), communicator);
    }
    std::unique_ptr<CgInfluence> cg = *CgInfluence::Create(
        provider,
        ParameterBlocks::Create(provider->model(), BlockStructure::kFull),
        options);
    INFLUENCE_EXPECT_OK(cg->Fit(Sequence(train_, 4)));
    return cg;
  }

  Batch train_ = SeededClassification(7, 3, 2, at::kDouble, 2);
  Batch test_ = SeededClassification(5, 3, 2, at::kDouble, 3);
  std::shared_ptr<const ComposableInfluence> model_;
};

// A sink for several threads.
class LockedCollector : public Collector {
 public:
  using Collector::Collector;

  absl::Status Prepared(
      int64_t group, const std::vector<BlockSolveReports>& reports) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Collector::Prepared(group, reports);
  }

  absl::Status Add(size_t array, int64_t group, int64_t column,
                   const at::Tensor& tile) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Collector::Add(array, group, column, tile);
  }

 private:
  std::mutex mutex_;
};

TEST_F(ScoreTilesTest, WorkersGiveTheSameTiles) {
  const QueryGroups queries = BatchesOfQueries(model_, Sequence(test_, 2));
  const std::shared_ptr<const BatchSequence> train = Sequence(train_, 3);
  const int num_threads = at::get_num_threads();
  at::set_num_threads(1);
  std::map<std::tuple<size_t, int64_t, int64_t>, at::Tensor> expected;
  for (const int num_workers : {1, 2, 4}) {
    LockedCollector sink(1);
    sink.unwanted = {{0, 1}, {2, 0}, {2, 1}, {2, 2}};
    CounterTileSchedule schedule(9);
    INFLUENCE_ASSERT_OK(ForEachScoreTile(queries, *train, ScoreArrays(),
                                         schedule, 9, sink, nullptr,
                                         num_workers));
    std::sort(sink.prepared.begin(), sink.prepared.end());
    EXPECT_THAT(sink.prepared, ElementsAre(0, 1));
    if (num_workers == 1) expected = sink.tiles;
    ASSERT_EQ(sink.tiles.size(), 5u);
    for (const auto& [place, tile] : sink.tiles) {
      EXPECT_TRUE(at::equal(tile, expected.at(place)));
    }
  }
  LockedCollector failing(1);
  failing.error = absl::DataLossError("disk");
  CounterTileSchedule schedule(9);
  EXPECT_THAT(ForEachScoreTile(queries, *train, ScoreArrays(), schedule, 9,
                               failing, nullptr, 2),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("disk")));
  at::set_num_threads(num_threads);
}

TEST_F(ScoreTilesTest, EveryKindOfGroupGivesTheSameScores) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                                 model_->Influences(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor factors,
                                 model_->InfluenceFactors(test_));
  const std::vector<QueryGroups> kinds = {
      BatchesOfQueries(model_, Sequence(test_, 2)),
      GroupsOfFactors(model_, Sequence(test_, 2), 1),
      GroupsOfFactors(model_, Sequence(test_, 2), 2),
      GroupsOfFactors(model_, Sequence(test_, 1), 9),
      StoredFactors(
          model_,
          [factors](int64_t begin, int64_t end) -> absl::StatusOr<at::Tensor> {
            return factors.slice(0, begin, end);
          },
          5, 2)};
  for (const QueryGroups& queries : kinds) {
    EXPECT_THAT(Compute(queries, {}, 1)[0], TensorNear(expected, kTolerance));
  }
}

TEST_F(ScoreTilesTest, BlocksComeApart) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const TensorMap expected,
                                 model_->InfluencesByBlock(test_, train_));
  ScoreArrays scores;
  for (const ParameterBlock& block : model_->blocks().blocks()) {
    scores.blocks.push_back(block.name);
  }
  ASSERT_EQ(scores.blocks.size(), 2);
  for (const QueryGroups& queries :
       {BatchesOfQueries(model_, Sequence(test_, 2)),
        GroupsOfFactors(model_, Sequence(test_, 2), 2)}) {
    const std::vector<at::Tensor> arrays = Compute(queries, scores, 2);
    for (size_t b = 0; b < 2; ++b) {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor of_block,
                                     expected.Find(scores.blocks[b]));
      EXPECT_THAT(arrays[b], TensorNear(of_block, kTolerance));
    }
  }
}

TEST_F(ScoreTilesTest, WhatIsThereIsNotComputedAgain) {
  Collector sink(1);
  // All of the first group, and one tile of the third.
  sink.unwanted = {{0, 0}, {0, 1}, {0, 2}, {2, 1}};
  CounterTileSchedule schedule(9);
  INFLUENCE_ASSERT_OK(
      ForEachScoreTile(BatchesOfQueries(model_, Sequence(test_, 2)),
                       *Sequence(train_, 3), {}, schedule, 9, sink, nullptr));
  EXPECT_THAT(sink.prepared, ElementsAre(1, 2));
  EXPECT_EQ(sink.tiles.size(), 5);
  EXPECT_EQ(sink.tiles.count({0, 2, 1}), 0);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                                 model_->Influences(test_, train_));
  EXPECT_THAT((sink.tiles[{0, 1, 2}]),
              TensorNear(expected.slice(0, 2, 4).slice(1, 6, 7), kTolerance));
}

TEST_F(ScoreTilesTest, ShardsComputeEachTileOnce) {
  std::map<std::tuple<size_t, int64_t, int64_t>, at::Tensor> tiles;
  for (int64_t shard = 1; shard <= 4; ++shard) {
    Collector sink(1);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const std::unique_ptr<ShardTileSchedule> schedule,
        ShardTileSchedule::Create(9, shard, 4));
    INFLUENCE_ASSERT_OK(ForEachScoreTile(
        BatchesOfQueries(model_, Sequence(test_, 2)), *Sequence(train_, 3), {},
        *schedule, schedule->num_tiles(), sink, nullptr));
    for (const auto& [place, tile] : sink.tiles) {
      EXPECT_TRUE(tiles.emplace(place, tile).second);
    }
  }
  EXPECT_EQ(tiles.size(), 9);
}

// Rank 0 alone decides what is wanted, all hear of groups; every tile is one
// rank's. The queries' batches are solved for in turns, or, where nothing is
// formed, by all ranks.
TEST_F(ScoreTilesTest, RanksShareTheTilesOfAGroup) {
  for (const bool forms : {true, false}) {
    SCOPED_TRACE(forms);
    const std::shared_ptr<const ComposableInfluence> alone =
        FittedCg(nullptr, forms);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                                   alone->Influences(test_, train_));
    for (const int size : {1, 2, 3}) {
      SCOPED_TRACE(size);
      LockedCollector sink(1);
      INFLUENCE_ASSERT_OK(FirstError(
          RunThreadTeam(size, [&](Communicator& communicator) -> absl::Status {
            const std::shared_ptr<const ComposableInfluence> model =
                FittedCg(&communicator, forms);
            EXPECT_EQ(model->solves_together(), size > 1 && !forms);
            class View : public ScoreTileSink {
             public:
              View(ScoreTileSink* all, bool is_first)
                  : all_(all), is_first_(is_first) {}
              bool Wants(int64_t group, int64_t column) const override {
                return !is_first_ || group != 1 || column != 0;
              }
              absl::Status Prepared(
                  int64_t group,
                  const std::vector<BlockSolveReports>& reports) override {
                prepared.push_back(group);
                return is_first_ ? all_->Prepared(group, reports)
                                 : absl::OkStatus();
              }
              absl::Status Add(size_t array, int64_t group, int64_t column,
                               const at::Tensor& tile) override {
                return all_->Add(array, group, column, tile);
              }
              absl::Status FinishSharedGroup(int64_t group,
                                             Communicator& job) override {
                finished.push_back(group);
                return job.Barrier();
              }
              std::vector<int64_t> prepared;
              std::vector<int64_t> finished;

             private:
              ScoreTileSink* const all_;
              const bool is_first_;
            } view(&sink, communicator.rank() == 0);
            const absl::Status status = ForEachSharedScoreTile(
                GroupsOfFactors(model, Sequence(test_, 1), 3, &communicator),
                *Sequence(train_, 3), {}, communicator, view, nullptr);
            EXPECT_THAT(view.prepared, ElementsAre(0, 1));
            EXPECT_THAT(view.finished, ElementsAre(0, 1));
            return status;
          })));
      EXPECT_THAT(sink.prepared, ElementsAre(0, 1));
      EXPECT_EQ(sink.num_reports, 5);
      EXPECT_EQ(sink.tiles.size(), 5);
      EXPECT_EQ(sink.tiles.count({0, 1, 0}), 0);
      EXPECT_THAT(at::cat({sink.tiles[{0, 0, 0}], sink.tiles[{0, 0, 1}],
                           sink.tiles[{0, 0, 2}]},
                          1),
                  TensorNear(expected.slice(0, 0, 3), 1e-8));
      EXPECT_THAT((sink.tiles[{0, 1, 2}]),
                  TensorNear(expected.slice(0, 3, 5).slice(1, 6, 7), 1e-8));
    }
  }
}

TEST_F(ScoreTilesTest, GroupsTellHowTheyWereSolvedFor) {
  const std::shared_ptr<const ComposableInfluence> cg = FittedCg(nullptr);
  for (const QueryGroups& queries :
       {BatchesOfQueries(cg, Sequence(test_, 2)),
        GroupsOfFactors(cg, Sequence(test_, 1), 2)}) {
    Collector sink(1);
    CounterTileSchedule schedule(9);
    INFLUENCE_ASSERT_OK(ForEachScoreTile(queries, *Sequence(train_, 3), {},
                                         schedule, 9, sink, nullptr));
    EXPECT_THAT(sink.prepared, ElementsAre(0, 1, 2));
    EXPECT_EQ(sink.num_reports, 5);
  }
}

TEST_F(ScoreTilesTest, AnErrorOfATileEndsTheRun) {
  Collector sink(1);
  sink.error = absl::ResourceExhaustedError("disk full");
  CounterTileSchedule schedule(9);
  EXPECT_THAT(
      ForEachScoreTile(BatchesOfQueries(model_, Sequence(test_, 2)),
                       *Sequence(train_, 3), {}, schedule, 9, sink, nullptr),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("disk full")));
  EXPECT_EQ(sink.tiles.size(), 1);
}

}  // namespace
}  // namespace influence
