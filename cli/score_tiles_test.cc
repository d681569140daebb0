// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/score_tiles.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gradients/tensor_map.h"
#include "gtest/gtest.h"
#include "influence/direct_influence.h"
#include "influence/influence_mode.h"
#include "influence/regularization.h"
#include "operators/problem_testing.h"
#include "operators/solve_report.h"
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
    std::vector<at::Tensor> arrays(count);
    for (at::Tensor& array : arrays) array = at::zeros({5, 7}, at::kDouble);
    const absl::StatusOr<std::vector<BlockSolveReports>> reports =
        ForEachScoreTile(
            queries, *Sequence(train_, 3), scores,
            [&](size_t array, int64_t row, int64_t column,
                const at::Tensor& tile) -> absl::Status {
              arrays[array]
                  .slice(0, row, row + tile.size(0))
                  .slice(1, column, column + tile.size(1))
                  .add_(tile);  // One written twice would show.
              return absl::OkStatus();
            },
            nullptr);
    INFLUENCE_EXPECT_OK(reports);
    return arrays;
  }

  Batch train_ = SeededClassification(7, 3, 2, at::kDouble, 2);
  Batch test_ = SeededClassification(5, 3, 2, at::kDouble, 3);
  std::shared_ptr<const ComposableInfluence> model_;
};

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

TEST_F(ScoreTilesTest, AnErrorOfATileEndsTheRun) {
  int tiles = 0;
  EXPECT_THAT(
      ForEachScoreTile(
          BatchesOfQueries(model_, Sequence(test_, 2)), *Sequence(train_, 3),
          {},
          [&](size_t, int64_t, int64_t, const at::Tensor&) -> absl::Status {
            ++tiles;
            return absl::ResourceExhaustedError("disk full");
          },
          nullptr),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("disk full")));
  EXPECT_EQ(tiles, 1);
}

TEST_F(ScoreTilesTest, ReportsOfFurtherQueriesFollowBlockByBlock) {
  std::vector<BlockSolveReports> reports;
  AppendReports({{"a", {{SolveOutcome::kConverged, 1, 0}}},
                 {"b", {{SolveOutcome::kConverged, 2, 0}}}},
                reports);
  AppendReports({{"a", {{SolveOutcome::kConverged, 3, 0}}},
                 {"b", {{SolveOutcome::kConverged, 4, 0}}}},
                reports);
  ASSERT_EQ(reports.size(), 2);
  std::vector<int64_t> iterations;
  for (const BlockSolveReports& of_block : reports) {
    for (const SolveReport& report : of_block.reports) {
      iterations.push_back(report.iterations);
    }
  }
  EXPECT_EQ(reports[0].block, "a");
  EXPECT_THAT(iterations, ElementsAre(1, 3, 2, 4));
}

}  // namespace
}  // namespace influence
