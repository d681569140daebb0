// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/stored_gradients.h"

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "calculators/gradient_store.h"
#include "calculators/zarr_array.h"
#include "calculators/zarr_store_writer.h"
#include "cli/score_tiles.h"
#include "gmock/gmock.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/tensor_map.h"
#include "gtest/gtest.h"
#include "influence/composable_influence.h"
#include "influence/fitted_models_testing.h"
#include "influence/influence_mode.h"
#include "influence/prepared_queries.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class StoredGradientsTest : public testing::TestWithParam<std::string> {
 protected:
  StoredGradientsTest()
      : path_(fs::path(::testing::TempDir()) /
              absl::StrCat("stored_gradients_", getpid())) {
    fs::remove_all(path_);
    model_ = FitMethod(GetParam(), problem_);
  }
  ~StoredGradientsTest() override { fs::remove_all(path_); }

  absl::StatusOr<std::shared_ptr<const GradientStore>> Store() {
    INFLUENCE_ASSIGN_OR_RETURN(const auto writer,
                               ZarrStoreWriter::Create(path_.string()));
    INFLUENCE_ASSIGN_OR_RETURN(
        GradientStoreLayout layout,
        StoreGradients(*model_, *problem_.train, GradientStoreOptions{},
                       *writer, *SingleProcess(), /*progress=*/nullptr));
    INFLUENCE_RETURN_IF_ERROR(writer->Commit());
    INFLUENCE_ASSIGN_OR_RETURN(const ZarrGroup group,
                               ZarrGroup::Open(path_.string()));
    INFLUENCE_ASSIGN_OR_RETURN(GradientStore store,
                               GradientStore::Open(group, std::move(layout)));
    return std::make_shared<const GradientStore>(std::move(store));
  }

  fs::path path_;
  FittedProblem problem_ = MakeFittedProblem();
  std::shared_ptr<const ComposableInfluence> model_;
};

INSTANTIATE_TEST_SUITE_P(Methods, StoredGradientsTest,
                         testing::Values("identity", "direct", "cg", "arnoldi",
                                         "ekfac", "ihm"),
                         [](const auto& method) { return method.param; });

// Without positions the stored factors are the computed ones: the same scores,
// but for the rounding of products of tensors with other strides.
TEST_P(StoredGradientsTest, GivesTheScoresOfTheSamples) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto store, Store());
  const auto test = std::make_shared<const TensorBatchSequence>(
      *TensorBatchSequence::Create(problem_.test, 3));
  for (const bool as_factors : {false, true}) {
    QueryGroups groups = as_factors ? GroupsOfFactors(model_, test, 1)
                                    : BatchesOfQueries(model_, test);
    const QueryGroups stored = MeetStoredGradients(groups, store);
    const auto numbers = NumberedSamples(store->num_samples(), 4);
    for (int64_t group = 0; group < groups.num_groups; ++group) {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto from_samples,
                                     groups.prepare(group));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto from_store,
                                     stored.prepare(group));
      EXPECT_EQ(from_store->num_queries(), from_samples->num_queries());
      EXPECT_EQ(from_store->solve_reports().size(),
                from_samples->solve_reports().size());
      for (int64_t b = 0; b < numbers->num_batches(); ++b) {
        INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch samples,
                                       problem_.train->Get(b));
        INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch named, numbers->Get(b));
        INFLUENCE_ASSERT_OK_AND_ASSIGN(
            const at::Tensor expected,
            from_samples->Influences(samples, InfluenceMode::kUp, 0));
        INFLUENCE_ASSERT_OK_AND_ASSIGN(
            const at::Tensor found,
            from_store->Influences(named, InfluenceMode::kUp, 0));
        EXPECT_THAT(found, TensorNear(expected, 1e-12));
        INFLUENCE_ASSERT_OK_AND_ASSIGN(
            const TensorMap by_block,
            from_store->InfluencesByBlock(named, InfluenceMode::kUp, 0));
        INFLUENCE_ASSERT_OK_AND_ASSIGN(
            const TensorMap expected_by_block,
            from_samples->InfluencesByBlock(samples, InfluenceMode::kUp, 0));
        for (const auto& [name, scores] : expected_by_block) {
          INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor of_block,
                                         by_block.Find(name));
          EXPECT_THAT(of_block, TensorNear(scores, 1e-12));
        }
      }
    }
  }
}

TEST(NumberedSamplesTest, CountsWithAShorterLastBatch) {
  const auto numbers = NumberedSamples(5, 2);
  EXPECT_EQ(numbers->num_batches(), 3);
  EXPECT_EQ(numbers->num_samples(), 5);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch last, numbers->Get(2));
  EXPECT_EQ(last.size(), 1);
  EXPECT_EQ(last.x[0].item<int64_t>(), 4);
  EXPECT_THAT(numbers->Get(3), StatusIs(absl::StatusCode::kOutOfRange,
                                        HasSubstr("found index 3")));
}

}  // namespace
}  // namespace influence
