// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/sequential_influence_calculator.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "calculators/aggregators.h"
#include "calculators/lazy_chunk_sequence.h"
#include "calculators/npy_file.h"
#include "gmock/gmock.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/tensor_map.h"
#include "gtest/gtest.h"
#include "influence/influence_function_model.h"
#include "influence/influence_mode.h"
#include "influence/prepared_queries.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kP = 3;

struct Counts {
  int factors = 0;
  int prepared = 0;
  int tiles = 0;
};

// The gradient of a sample is its x [3]; A^-1 is 2 I. With kPerturbation the
// score is the factor itself.
class FakeModel : public InfluenceFunctionModel {
 public:
  explicit FakeModel(Counts* counts) : counts_(counts) {}

  int64_t num_parameters() const override { return kP; }
  bool is_thread_safe() const override { return true; }
  bool is_fitted() const override { return num_samples_ > 0; }
  int64_t num_fitted_samples() const override { return num_samples_; }

 protected:
  absl::Status DoFit(std::shared_ptr<const BatchSequence> data,
                     ProgressReporter* /*progress*/) override {
    num_samples_ = data->num_samples();
    return absl::OkStatus();
  }

  absl::StatusOr<at::Tensor> DoInfluenceFactors(
      const Batch& test) const override {
    ++counts_->factors;
    return test.x[0].mul(2);
  }

  absl::StatusOr<at::Tensor> DoInfluences(const Batch& test,
                                          const std::optional<Batch>& train,
                                          InfluenceMode mode,
                                          int64_t input) const override {
    INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor factors,
                               DoInfluenceFactors(test));
    return DoInfluencesFromFactors(factors, train.value_or(test), mode, input);
  }

  absl::StatusOr<std::unique_ptr<const PreparedQueries>> DoPrepareQueries(
      const Batch& test) const override;

  absl::StatusOr<at::Tensor> DoInfluencesFromFactors(
      const at::Tensor& factors, const Batch& train, InfluenceMode mode,
      int64_t /*input*/) const override {
    ++counts_->tiles;
    if (train.x[0].min().item<double>() < 0) {
      return absl::InvalidArgumentError("x: found a negative value");
    }
    if (mode == InfluenceMode::kUp) {
      return at::matmul(factors, train.x[0].t());
    }
    return factors.unsqueeze(1)
        .expand({factors.size(0), train.size(), kP})
        .contiguous();
  }

 private:
  friend class FakeQueries;

  Counts* counts_;
  int64_t num_samples_ = 0;
};

class FakeQueries : public PreparedQueries {
 public:
  FakeQueries(const FakeModel* model, at::Tensor factors)
      : model_(model), factors_(std::move(factors)) {}

  int64_t num_queries() const override { return factors_.size(0); }

  absl::StatusOr<at::Tensor> Influences(const Batch& train, InfluenceMode mode,
                                        int64_t input) const override {
    return model_->DoInfluencesFromFactors(factors_, train, mode, input);
  }

  absl::StatusOr<TensorMap> InfluencesByBlock(const Batch&, InfluenceMode,
                                              int64_t) const override {
    return absl::UnimplementedError("no blocks");
  }

 private:
  const FakeModel* model_;
  at::Tensor factors_;
};

absl::StatusOr<std::unique_ptr<const PreparedQueries>>
FakeModel::DoPrepareQueries(const Batch& test) const {
  ++counts_->prepared;
  return std::make_unique<const FakeQueries>(this, test.x[0].mul(2));
}

// Counts what is read.
class CountingData : public BatchSequence {
 public:
  CountingData(TensorBatchSequence data, int* reads)
      : data_(std::move(data)), reads_(reads) {}

  int64_t num_batches() const override { return data_.num_batches(); }
  int64_t num_samples() const override { return data_.num_samples(); }
  absl::StatusOr<Batch> Get(int64_t index) const override {
    ++*reads_;
    return data_.Get(index);
  }

 private:
  TensorBatchSequence data_;
  int* reads_;
};

at::Tensor Samples(int64_t count, double first) {
  return at::arange(first, first + count * kP, at::TensorOptions(at::kDouble))
      .reshape({count, kP});
}

class SequentialInfluenceCalculatorTest : public ::testing::Test {
 protected:
  std::shared_ptr<const BatchSequence> Data(const at::Tensor& x,
                                            int64_t batch_size) {
    absl::StatusOr<TensorBatchSequence> data = TensorBatchSequence::Create(
        {{x}, at::zeros({x.size(0)}, at::TensorOptions(at::kLong))},
        batch_size);
    EXPECT_THAT(data, IsOk());
    return std::make_shared<CountingData>(*std::move(data), &reads_);
  }

  SequentialInfluenceCalculator Calculator(bool fit = true) {
    auto model = std::make_shared<FakeModel>(&counts_);
    if (fit) {
      EXPECT_THAT(model->Fit(Data(Samples(1, 0), 1)), IsOk());
    }
    absl::StatusOr<SequentialInfluenceCalculator> calculator =
        SequentialInfluenceCalculator::Create(model);
    EXPECT_THAT(calculator, IsOk());
    reads_ = 0;
    return *std::move(calculator);
  }

  Counts counts_;
  int reads_ = 0;
  const at::Tensor test_ = Samples(5, 1);
  const at::Tensor train_ = Samples(7, 20);
  const at::Tensor scores_ = at::matmul(test_, train_.t()).mul(2);
};

TEST_F(SequentialInfluenceCalculatorTest, RefusesANullModel) {
  EXPECT_THAT(SequentialInfluenceCalculator::Create(nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("model: found null")));
}

TEST_F(SequentialInfluenceCalculatorTest, KnowsTheNumberOfParameters) {
  EXPECT_EQ(Calculator().num_parameters(), kP);
}

TEST_F(SequentialInfluenceCalculatorTest, NothingRunsBeforeCompute) {
  const SequentialInfluenceCalculator calculator = Calculator();
  const auto test = Data(test_, 2);
  const auto train = Data(train_, 3);
  const LazyChunkSequence factors = calculator.InfluenceFactors(test);
  const NestedLazyChunkSequence influences = calculator.Influences(test, train);
  const NestedLazyChunkSequence from_factors =
      calculator.InfluencesFromFactors(factors, train);
  EXPECT_EQ(reads_, 0);
  EXPECT_EQ(counts_.factors + counts_.prepared + counts_.tiles, 0);
  EXPECT_EQ(factors.num_chunks(), 3);
  EXPECT_EQ(influences.row_chunks(), 3);
  EXPECT_EQ(influences.column_chunks(), 3);
  EXPECT_EQ(from_factors.num_rows(), 5);
  EXPECT_EQ(from_factors.num_columns(), 7);
}

TEST_F(SequentialInfluenceCalculatorTest, InfluencesAreTheSameForAnyBatches) {
  const SequentialInfluenceCalculator calculator = Calculator();
  for (int64_t test_batch : {1, 2, 5, 9}) {
    for (int64_t train_batch : {1, 3, 7}) {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const at::Tensor scores,
          calculator
              .Influences(Data(test_, test_batch), Data(train_, train_batch))
              .Compute(NestedCatAggregator()));
      EXPECT_TRUE(at::equal(scores, scores_))
          << test_batch << " " << train_batch;
    }
  }
}

TEST_F(SequentialInfluenceCalculatorTest, QueriesArePreparedOnceARow) {
  const SequentialInfluenceCalculator calculator = Calculator();
  INFLUENCE_ASSERT_OK(calculator.Influences(Data(test_, 2), Data(train_, 2))
                          .Compute(NestedCatAggregator()));
  EXPECT_EQ(counts_.prepared, 3);
  EXPECT_EQ(counts_.tiles, 12);
  EXPECT_EQ(counts_.factors, 0);
}

TEST_F(SequentialInfluenceCalculatorTest, FactorsAreComputedOnceAChunk) {
  const SequentialInfluenceCalculator calculator = Calculator();
  const LazyChunkSequence factors = calculator.InfluenceFactors(Data(test_, 2));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor scores,
      calculator.InfluencesFromFactors(factors, Data(train_, 2))
          .Compute(NestedCatAggregator()));
  EXPECT_TRUE(at::equal(scores, scores_));
  EXPECT_EQ(counts_.factors, 3);
  EXPECT_EQ(counts_.tiles, 12);
}

TEST_F(SequentialInfluenceCalculatorTest, TrainLeftOutMeansTest) {
  const SequentialInfluenceCalculator calculator = Calculator();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor scores,
      calculator.Influences(Data(test_, 2)).Compute(NestedCatAggregator()));
  EXPECT_TRUE(at::equal(scores, at::matmul(test_, test_.t()).mul(2)));
}

TEST_F(SequentialInfluenceCalculatorTest, FactorsGoToOneTensor) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor factors,
      Calculator().InfluenceFactors(Data(test_, 2)).Compute(CatAggregator()));
  EXPECT_TRUE(at::equal(factors, test_.mul(2)));
}

TEST_F(SequentialInfluenceCalculatorTest, PerturbationKeepsTheInputsShape) {
  const std::string path =
      absl::StrCat(::testing::TempDir(), "/sequential_perturbation.npy");
  std::filesystem::remove(path);
  INFLUENCE_ASSERT_OK(Calculator()
                          .Influences(Data(test_, 2), Data(train_, 3),
                                      InfluenceMode::kPerturbation)
                          .ToNpy(path));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const NpyFile file, NpyFile::Open(path));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor scores, file.ReadAll());
  EXPECT_TRUE(at::equal(scores, test_.mul(2).unsqueeze(1).expand({5, 7, kP})));
}

TEST_F(SequentialInfluenceCalculatorTest, AnErrorNamesItsTile) {
  at::Tensor train = train_.clone();
  train[4].fill_(-1);
  EXPECT_THAT(Calculator()
                  .Influences(Data(test_, 2), Data(train, 2))
                  .Compute(NestedCatAggregator()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "influences tile (0, 2) of 3 x 4: x: found a negative "
                       "value"));
}

TEST_F(SequentialInfluenceCalculatorTest, RefusesAModelThatIsNotFitted) {
  const SequentialInfluenceCalculator calculator = Calculator(/*fit=*/false);
  EXPECT_THAT(
      calculator.Influences(Data(test_, 2)).Compute(NestedCatAggregator()),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("fit")));
  EXPECT_THAT(
      calculator.InfluenceFactors(Data(test_, 2)).Compute(CatAggregator()),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("fit")));
}

TEST_F(SequentialInfluenceCalculatorTest, NullDataIsReportedByCompute) {
  const SequentialInfluenceCalculator calculator = Calculator();
  EXPECT_THAT(
      calculator.Influences(nullptr).Compute(NestedCatAggregator()),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("test data")));
  EXPECT_THAT(
      calculator.InfluenceFactors(nullptr).Compute(CatAggregator()),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("found null")));
  EXPECT_THAT(
      calculator
          .InfluencesFromFactors(calculator.InfluenceFactors(Data(test_, 2)),
                                 nullptr)
          .Compute(NestedCatAggregator()),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("training")));
}

}  // namespace
}  // namespace influence
