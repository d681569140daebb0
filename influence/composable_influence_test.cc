// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/composable_influence.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/operator.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// c I.
class ScalingOperator : public Operator {
 public:
  ScalingOperator(int64_t size, double factor) : size_(size), factor_(factor) {}

  int64_t input_size() const override { return size_; }

 protected:
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override {
    return matrix.mul(factor_);
  }

 private:
  int64_t size_;
  double factor_;
};

// A method of one's own: block number b is scaled by 1 / (b + lambda).
class ScalingInfluence : public ComposableInfluence {
 public:
  ScalingInfluence(std::shared_ptr<const GradientProvider> provider,
                   ParameterBlocks blocks, std::vector<double> regularization,
                   std::optional<PerSampleFunction> query_function)
      : ComposableInfluence(std::move(provider), std::move(blocks),
                            std::move(query_function)),
        regularization_(std::move(regularization)) {}

  bool is_thread_safe() const override { return true; }
  std::vector<BlockReport> report() const override { return {}; }

  absl::StatusOr<std::unique_ptr<ComposableInfluence>> WithRegularization(
      const Regularization& regularization) const override {
    INFLUENCE_RETURN_IF_ERROR(CheckFitted());
    auto other = std::make_unique<ScalingInfluence>(*this);
    INFLUENCE_ASSIGN_OR_RETURN(other->regularization_,
                               regularization.Resolve(blocks()));
    INFLUENCE_RETURN_IF_ERROR(
        other->SetOperators(other->Operators(), num_fitted_samples()));
    return other;
  }

 protected:
  absl::StatusOr<std::vector<std::shared_ptr<const Operator>>> FitOperators(
      std::shared_ptr<const BatchSequence> data,
      ProgressReporter* /*progress*/) override {
    INFLUENCE_RETURN_IF_ERROR(data->Get(0).status());
    return Operators();
  }

 private:
  std::vector<std::shared_ptr<const Operator>> Operators() const {
    std::vector<std::shared_ptr<const Operator>> operators;
    for (size_t b = 0; b < blocks().blocks().size(); ++b) {
      operators.push_back(std::make_shared<const ScalingOperator>(
          blocks().blocks()[b].size,
          1 / (static_cast<double>(b) + regularization_[b])));
    }
    return operators;
  }

  std::vector<double> regularization_;
};

class ComposableInfluenceTest : public testing::Test {
 protected:
  void SetUp() override {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        provider_, AutogradGradientProvider::Create(
                       TanhMlp({3, 4, 2}, at::kDouble, 1), CrossEntropyLoss()));
  }

  ScalingInfluence Make(
      std::optional<PerSampleFunction> query_function = std::nullopt) const {
    return ScalingInfluence(
        provider_,
        ParameterBlocks::Create(provider_->model(), BlockStructure::kLayer),
        {1, 1}, std::move(query_function));
  }

  std::shared_ptr<const BatchSequence> Data() const {
    return std::make_shared<const TensorBatchSequence>(
        *TensorBatchSequence::Create(train_, 2));
  }

  std::shared_ptr<const GradientProvider> provider_;
  Batch test_ = SeededClassification(3, 3, 2, at::kDouble, 7);
  Batch train_ = SeededClassification(5, 3, 2, at::kDouble, 8);
};

TEST_F(ComposableInfluenceTest, AFitMakesItReady) {
  ScalingInfluence influence = Make();
  EXPECT_FALSE(influence.is_fitted());
  EXPECT_EQ(influence.num_fitted_samples(), 0);
  EXPECT_EQ(influence.num_parameters(), 26);
  EXPECT_THAT(
      influence.InfluencesByBlock(test_, train_),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("Fit()")));
  EXPECT_THAT(
      influence.InfluenceFactorsByBlock(test_),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("Fit()")));
  INFLUENCE_ASSERT_OK(influence.Fit(Data()));
  EXPECT_TRUE(influence.is_fitted());
  EXPECT_EQ(influence.num_fitted_samples(), 5);
}

TEST_F(ComposableInfluenceTest, GivesTheOperatorOfEachBlock) {
  ScalingInfluence influence = Make();
  EXPECT_TRUE(influence.operators().empty());
  INFLUENCE_ASSERT_OK(influence.Fit(Data()));
  const std::vector<ParameterBlock>& blocks = influence.blocks().blocks();
  ASSERT_EQ(influence.operators().size(), blocks.size());
  for (size_t b = 0; b < blocks.size(); ++b) {
    EXPECT_EQ(influence.operators()[b]->input_size(), blocks[b].size);
  }
}

TEST_F(ComposableInfluenceTest, FactorsComeWithReportsOfIterations) {
  ScalingInfluence influence = Make();
  std::vector<BlockSolveReports> reports(1);
  EXPECT_THAT(
      influence.InfluenceFactorsWithReports(test_, &reports),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("Fit()")));
  INFLUENCE_ASSERT_OK(influence.Fit(Data()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      TensorMap factors,
      influence.InfluenceFactorsWithReports(test_, &reports));
  EXPECT_TRUE(reports.empty());  // No block of this method iterates.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(TensorMap expected,
                                 influence.InfluenceFactorsByBlock(test_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor second, factors.Find("2"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected_second,
                                 expected.Find("2"));
  EXPECT_THAT(second, TensorNear(expected_second, 0));
}

TEST_F(ComposableInfluenceTest, SelfInfluencesAreTheDiagonal) {
  ScalingInfluence influence = Make(MarginFunction());
  EXPECT_THAT(
      influence.SelfInfluences(train_),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("Fit")));
  INFLUENCE_ASSERT_OK(influence.Fit(Data()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor all,
                                 influence.Influences(train_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor self,
                                 influence.SelfInfluences(train_));
  EXPECT_THAT(self, TensorNear(all.diagonal(), 1e-12));
}

TEST_F(ComposableInfluenceTest, TotalsEqualTheSumsOfTheBlocks) {
  ScalingInfluence influence = Make();
  INFLUENCE_ASSERT_OK(influence.Fit(Data()));
  for (const InfluenceMode mode :
       {InfluenceMode::kUp, InfluenceMode::kPerturbation}) {
    SCOPED_TRACE(InfluenceModeName(mode));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor total,
                                   influence.Influences(test_, train_, mode));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        TensorMap by_block, influence.InfluencesByBlock(test_, train_, mode));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor first, by_block.Find("0"));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor second, by_block.Find("2"));
    EXPECT_THAT(first.add(second), TensorNear(total, 1e-14));

    INFLUENCE_ASSERT_OK_AND_ASSIGN(TensorMap factors,
                                   influence.InfluenceFactorsByBlock(test_));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        by_block,
        influence.InfluencesFromFactorsByBlock(factors, train_, mode));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor again, by_block.Find("2"));
    EXPECT_THAT(again, TensorNear(second, 1e-14));

    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor flat,
                                   influence.InfluenceFactors(test_));
    EXPECT_EQ(flat.sizes(), at::IntArrayRef({3, 26}));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        again, influence.InfluencesFromFactors(flat, train_, mode));
    EXPECT_THAT(again, TensorNear(total, 1e-14));
  }
}

TEST_F(ComposableInfluenceTest, ScoresAreIndependentOfHowSamplesAreBatched) {
  ScalingInfluence influence = Make();
  INFLUENCE_ASSERT_OK(influence.Fit(Data()));
  for (const InfluenceMode mode :
       {InfluenceMode::kUp, InfluenceMode::kPerturbation}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor whole,
                                   influence.Influences(test_, train_, mode));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(auto prepared,
                                   influence.PrepareQueries(test_));
    for (int64_t begin = 0; begin < 5; begin += 2) {
      const int64_t end = std::min<int64_t>(begin + 2, 5);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(Batch part,
                                     SliceBatch(train_, begin, end));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                     prepared->Influences(part, mode));
      EXPECT_THAT(scores,
                  TensorNear(whole.narrow(1, begin, end - begin), 1e-14));
    }
  }
}

TEST_F(ComposableInfluenceTest, TheQueryFunctionIsOfTheQuerySideAlone) {
  ScalingInfluence loss = Make();
  ScalingInfluence margin = Make(MarginFunction());
  EXPECT_EQ(margin.query_function().name(), "margin");
  EXPECT_EQ(loss.query_function().name(), provider_->function().name());
  INFLUENCE_ASSERT_OK(loss.Fit(Data()));
  INFLUENCE_ASSERT_OK(margin.Fit(Data()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor factors,
                                 margin.InfluenceFactors(test_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                 margin.Influences(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                 loss.InfluencesFromFactors(factors, train_));
  EXPECT_THAT(scores, TensorNear(expected, 1e-14));
}

TEST_F(ComposableInfluenceTest, AMethodNeedNotKnowEigenvalues) {
  ScalingInfluence model = Make();
  EXPECT_THAT(model.CurvatureEigenvalues(),
              StatusIs(absl::StatusCode::kFailedPrecondition, testing::_));
  INFLUENCE_ASSERT_OK(model.Fit(Data()));
  EXPECT_THAT(model.CurvatureEigenvalues(),
              StatusIs(absl::StatusCode::kUnimplemented,
                       HasSubstr("expected direct, arnoldi")));
}

TEST_F(ComposableInfluenceTest, AFailedFitChangesNothing) {
  class BrokenSequence : public BatchSequence {
   public:
    int64_t num_batches() const override { return 1; }
    int64_t num_samples() const override { return 9; }
    absl::StatusOr<Batch> Get(int64_t /*index*/) const override {
      return absl::DataLossError("cannot read batch");
    }
  };
  ScalingInfluence influence = Make();
  EXPECT_THAT(influence.Fit(std::make_shared<const BrokenSequence>()),
              StatusIs(absl::StatusCode::kDataLoss, "cannot read batch"));
  EXPECT_FALSE(influence.is_fitted());
  INFLUENCE_ASSERT_OK(influence.Fit(Data()));
  EXPECT_THAT(influence.Fit(std::make_shared<const BrokenSequence>()),
              StatusIs(absl::StatusCode::kDataLoss, "cannot read batch"));
  EXPECT_EQ(influence.num_fitted_samples(), 5);
}

TEST_F(ComposableInfluenceTest, ANewRegularizationIsANewModel) {
  ScalingInfluence influence = Make();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const Regularization two,
      Regularization::ByBlock({{"0", 2}, {"2", 0.5}}));
  EXPECT_THAT(
      influence.WithRegularization(two),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("Fit()")));
  INFLUENCE_ASSERT_OK(influence.Fit(Data()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor before,
                                 influence.Influences(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto other, influence.WithRegularization(two));
  EXPECT_EQ(other->num_fitted_samples(), 5);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(TensorMap old_blocks,
                                 influence.InfluencesByBlock(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(TensorMap new_blocks,
                                 other->InfluencesByBlock(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor old_first, old_blocks.Find("0"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor new_first, new_blocks.Find("0"));
  EXPECT_THAT(new_first, TensorNear(old_first.div(2), 1e-14));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor after,
                                 influence.Influences(test_, train_));
  EXPECT_THAT(after, TensorNear(before, 0));
}

TEST_F(ComposableInfluenceTest, RefusesFactorsOfAnotherSize) {
  ScalingInfluence influence = Make();
  INFLUENCE_ASSERT_OK(influence.Fit(Data()));
  EXPECT_THAT(
      influence.InfluencesFromFactors(at::zeros({3, 25}, at::kDouble), train_),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("25"), HasSubstr("26"))));
  EXPECT_THAT(
      influence.InfluencesFromFactors(at::zeros({26}, at::kDouble), train_),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[M, 26]")));
}

}  // namespace
}  // namespace influence
