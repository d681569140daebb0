// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/parallel_influence_calculator.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/maximum.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/progress.h"
#include "calculators/aggregators.h"
#include "calculators/chunk_sink.h"
#include "calculators/lazy_chunk_sequence.h"
#include "calculators/sequential_influence_calculator.h"
#include "calculators/tile_workers.h"
#include "calculators/zarr_array.h"
#include "gmock/gmock.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gtest/gtest.h"
#include "influence/composable_influence.h"
#include "influence/fitted_models_testing.h"
#include "influence/influence_function_model.h"
#include "influence/influence_mode.h"
#include "influence/prepared_queries.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::shared_ptr<const BatchSequence> InBatches(const Batch& data,
                                               int64_t batch_size) {
  absl::StatusOr<TensorBatchSequence> batches =
      TensorBatchSequence::Create(data, batch_size);
  EXPECT_THAT(batches, IsOk());
  return std::make_shared<TensorBatchSequence>(*std::move(batches));
}

// One's own reduction: the largest score of each query, in any order.
class RowMaximum : public NestedSequenceAggregator<at::Tensor> {
 public:
  absl::Status Begin(int64_t, int64_t) override {
    rows_.clear();
    return absl::OkStatus();
  }
  absl::Status Add(int64_t row, int64_t column,
                   const at::Tensor& tile) override {
    const at::Tensor largest = tile.amax({1});
    if (column == 0) {
      rows_.push_back(largest);
    } else {
      rows_[row] = at::maximum(rows_[row], largest);
    }
    return absl::OkStatus();
  }
  absl::StatusOr<at::Tensor> Finish() override {
    CatAggregator together;
    INFLUENCE_EXPECT_OK(together.Begin(static_cast<int64_t>(rows_.size())));
    for (size_t i = 0; i < rows_.size(); ++i) {
      INFLUENCE_EXPECT_OK(together.Add(static_cast<int64_t>(i), rows_[i]));
    }
    return together.Finish();
  }

 private:
  std::vector<at::Tensor> rows_;
};

class ParallelInfluenceCalculatorTest : public ::testing::Test {
 protected:
  ParallelInfluenceCalculatorTest() { at::set_num_threads(1); }
  ~ParallelInfluenceCalculatorTest() override {
    at::set_num_threads(num_threads_);
  }

  const int num_threads_ = at::get_num_threads();
  const FittedProblem problem_ = MakeFittedProblem();
  const std::shared_ptr<const BatchSequence> test_ =
      InBatches(problem_.test, 2);
  const std::shared_ptr<const BatchSequence> train_ =
      InBatches(problem_.train_batch, 2);
};

class ParallelMethodsTest : public ParallelInfluenceCalculatorTest,
                            public ::testing::WithParamInterface<std::string> {
};

INSTANTIATE_TEST_SUITE_P(Methods, ParallelMethodsTest,
                         ::testing::Values("identity", "direct", "cg", "ekfac",
                                           "ihm", "nystroem"),
                         [](const auto& test) { return test.param; });

// Bit by bit, for every number of workers.
TEST_P(ParallelMethodsTest, GivesTheSequentialNumbers) {
  const std::shared_ptr<const InfluenceFunctionModel> model =
      FitMethod(GetParam(), problem_);
  ASSERT_NE(model, nullptr);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto sequential,
                                 SequentialInfluenceCalculator::Create(model));
  for (const InfluenceMode mode :
       {InfluenceMode::kUp, InfluenceMode::kPerturbation}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                                   sequential.Influences(test_, train_, mode)
                                       .Compute(NestedCatAggregator()));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const at::Tensor expected_factors,
        sequential.InfluenceFactors(test_).Compute(CatAggregator()));
    for (const int num_workers : {1, 2, 4}) {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto parallel,
                                     ParallelInfluenceCalculator::Create(
                                         model, {.num_workers = num_workers}));
      EXPECT_EQ(parallel.num_parameters(), model->num_parameters());
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor scores,
                                     parallel.Influences(test_, train_, mode)
                                         .Compute(NestedCatAggregator()));
      EXPECT_TRUE(at::equal(scores, expected)) << num_workers;
      const LazyChunkSequence factors = parallel.InfluenceFactors(test_);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor all_factors,
                                     factors.Compute(CatAggregator()));
      EXPECT_TRUE(at::equal(all_factors, expected_factors)) << num_workers;
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const at::Tensor from_factors,
          parallel.InfluencesFromFactors(factors, train_, mode)
              .Compute(NestedCatAggregator()));
      EXPECT_TRUE(from_factors.sizes() == expected.sizes());
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const at::Tensor from_same_factors,
          sequential
              .InfluencesFromFactors(sequential.InfluenceFactors(test_), train_,
                                     mode)
              .Compute(NestedCatAggregator()));
      EXPECT_TRUE(at::equal(from_factors, from_same_factors)) << num_workers;
    }
  }
}

TEST_F(ParallelInfluenceCalculatorTest, WritesTheSequentialFile) {
  const std::shared_ptr<const InfluenceFunctionModel> model =
      FitMethod("ekfac", problem_);
  const std::string folder =
      absl::StrCat(::testing::TempDir(), "/parallel_writes");
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto sequential,
                                 SequentialInfluenceCalculator::Create(model));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto parallel,
      ParallelInfluenceCalculator::Create(model, {.num_workers = 3}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor expected,
      sequential.Influences(test_, train_).Compute(NestedCatAggregator()));
  const std::string zarr = folder + "/scores.zarr";
  INFLUENCE_ASSERT_OK(parallel.Influences(test_, train_).ToZarr(zarr));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArray array, ZarrArray::Open(zarr));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor stored, array.ReadAll());
  EXPECT_TRUE(at::equal(stored, expected));
  const std::string one = folder + "/sequential.npy";
  const std::string other = folder + "/parallel.npy";
  INFLUENCE_ASSERT_OK(sequential.Influences(test_, train_).ToNpy(one));
  INFLUENCE_ASSERT_OK(parallel.Influences(test_, train_).ToNpy(other));
  std::string bytes[2];
  for (const int i : {0, 1}) {
    std::ifstream file(i == 0 ? one : other, std::ios::binary);
    bytes[i].assign(std::istreambuf_iterator<char>(file), {});
  }
  EXPECT_GT(bytes[0].size(), 100u);
  EXPECT_EQ(bytes[0], bytes[1]);
}

TEST_F(ParallelInfluenceCalculatorTest, TakesOnesOwnAggregator) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto parallel,
      ParallelInfluenceCalculator::Create(FitMethod("identity", problem_),
                                          {.num_workers = 2}));
  const NestedLazyChunkSequence influences = parallel.Influences(test_, train_);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor scores,
                                 influences.Compute(NestedCatAggregator()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor largest,
                                 influences.Compute(RowMaximum()));
  EXPECT_TRUE(at::equal(largest, scores.amax({1})));
}

TEST_F(ParallelInfluenceCalculatorTest, AnErrorNamesItsTile) {
  Batch bad = problem_.train_batch;
  bad.y = bad.y.clone();
  bad.y[5].fill_(7);  // Of two classes.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto parallel,
      ParallelInfluenceCalculator::Create(FitMethod("ekfac", problem_),
                                          {.num_workers = 2}));
  for (int repeat = 0; repeat < 3; ++repeat) {
    EXPECT_THAT(parallel.Influences(test_, InBatches(bad, 2))
                    .Compute(NestedCatAggregator()),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         StartsWith("influences tile (0, 2) of 2 x 5: ")));
  }
  EXPECT_THAT(
      parallel.InfluenceFactors(InBatches(bad, 2)).Compute(CatAggregator()),
      StatusIs(absl::StatusCode::kInvalidArgument,
               StartsWith("factors chunk 2 of 5: ")));
}

TEST_F(ParallelInfluenceCalculatorTest, CancellationIsReported) {
  WorkerOptions options;
  options.num_workers = 2;
  const auto token = std::make_shared<CancellationToken>();
  options.cancellation = token;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto parallel,
                                 ParallelInfluenceCalculator::Create(
                                     FitMethod("identity", problem_), options));
  token->Cancel();
  EXPECT_THAT(
      parallel.Influences(test_, train_).Compute(NestedCatAggregator()),
      StatusIs(absl::StatusCode::kCancelled, StartsWith("influences: ")));
}

// Another model, which says that threads must not share it.
class SingleThreaded : public InfluenceFunctionModel {
 public:
  explicit SingleThreaded(std::shared_ptr<const InfluenceFunctionModel> model)
      : model_(std::move(model)) {}

  int64_t num_parameters() const override { return model_->num_parameters(); }
  bool is_thread_safe() const override { return false; }
  bool is_fitted() const override { return true; }
  int64_t num_fitted_samples() const override { return 1; }

 protected:
  absl::Status DoFit(std::shared_ptr<const BatchSequence>,
                     ProgressReporter*) override {
    return absl::OkStatus();
  }
  absl::StatusOr<at::Tensor> DoInfluenceFactors(
      const Batch& test) const override {
    return model_->InfluenceFactors(test);
  }
  absl::StatusOr<at::Tensor> DoInfluences(const Batch& test,
                                          const std::optional<Batch>& train,
                                          InfluenceMode mode,
                                          int64_t input) const override {
    return model_->Influences(test, train, mode, input);
  }
  absl::StatusOr<std::unique_ptr<const PreparedQueries>> DoPrepareQueries(
      const Batch& test) const override {
    return model_->PrepareQueries(test);
  }
  absl::StatusOr<at::Tensor> DoInfluencesFromFactors(
      const at::Tensor& factors, const Batch& train, InfluenceMode mode,
      int64_t input) const override {
    return model_->InfluencesFromFactors(factors, train, mode, input);
  }

 private:
  std::shared_ptr<const InfluenceFunctionModel> model_;
};

TEST_F(ParallelInfluenceCalculatorTest, RefusesAModelThatIsNotThreadSafe) {
  const auto model =
      std::make_shared<const SingleThreaded>(FitMethod("identity", problem_));
  EXPECT_THAT(ParallelInfluenceCalculator::Create(model, {.num_workers = 2}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("num_workers: found 2 for a model that is "
                                 "not thread-safe")));
  EXPECT_THAT(ParallelInfluenceCalculator::Create(model, {.num_workers = 1}),
              IsOk());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto disabled,
      ParallelInfluenceCalculator::Create(model, {.num_workers = 2},
                                          DisableSingleThreadCheck()));
  EXPECT_EQ(disabled.workers().num_workers, 2);
  INFLUENCE_EXPECT_OK(
      disabled.Influences(test_, train_).Compute(NestedCatAggregator()));
}

TEST_F(ParallelInfluenceCalculatorTest, RefusesBadArguments) {
  EXPECT_THAT(ParallelInfluenceCalculator::Create(nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("model: found null")));
  EXPECT_THAT(ParallelInfluenceCalculator::Create(
                  FitMethod("identity", problem_), {.num_workers = -3}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("num_workers: found -3")));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto parallel,
      ParallelInfluenceCalculator::Create(FitMethod("identity", problem_)));
  EXPECT_EQ(parallel.workers().num_workers, DefaultNumWorkers());
  EXPECT_THAT(
      parallel.Influences(nullptr).Compute(NestedCatAggregator()),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("test data")));
}

}  // namespace
}  // namespace influence
