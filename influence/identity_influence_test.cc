// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/identity_influence.h"

#include <memory>
#include <optional>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/einsum.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

class IdentityInfluenceTest : public testing::Test {
 protected:
  void SetUp() override {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        provider_,
        CapturingGradientProvider::Create(TanhMlp({3, 4, 2}, at::kDouble, 1),
                                          CrossEntropyLoss(), train_));
  }

  std::unique_ptr<IdentityInfluence> Make(
      std::optional<PerSampleFunction> query_function = std::nullopt) const {
    return *IdentityInfluence::Create(
        provider_,
        ParameterBlocks::Create(provider_->model(), BlockStructure::kLayer),
        std::move(query_function));
  }

  std::shared_ptr<const GradientProvider> provider_;
  Batch test_ = SeededClassification(3, 3, 2, at::kDouble, 7);
  Batch train_ = SeededClassification(5, 3, 2, at::kDouble, 8);
};

TEST_F(IdentityInfluenceTest, UpIsTheDotProductOfGradients) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor left, provider_->FlatGrads(test_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor right,
                                 provider_->FlatGrads(train_));
  const auto identity = Make();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                 identity->Influences(test_, train_));
  EXPECT_THAT(scores, TensorNear(left.matmul(right.t()), 1e-14));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(scores, identity->Influences(test_));
  EXPECT_THAT(scores, TensorNear(left.matmul(left.t()), 1e-14));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor factors,
                                 identity->InfluenceFactors(test_));
  EXPECT_THAT(factors, TensorNear(left, 1e-14));
}

TEST_F(IdentityInfluenceTest, PerturbationIsTheDotProductOfMixedGradients) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor left, provider_->FlatGrads(test_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor mixed,
                                 provider_->FlatMixedGrads(train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor scores,
      Make()->Influences(test_, train_, InfluenceMode::kPerturbation));
  EXPECT_THAT(scores,
              TensorNear(at::einsum("mp,nxp->mnx", {left, mixed}), 1e-13));
}

TEST_F(IdentityInfluenceTest, AQueryFunctionIsOfTheQuerySideAlone) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor left,
      provider_->WithFunction(LogitFunction())->FlatGrads(test_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor right,
                                 provider_->FlatGrads(train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor scores, Make(LogitFunction())->Influences(test_, train_));
  EXPECT_THAT(scores, TensorNear(left.matmul(right.t()), 1e-14));
}

TEST_F(IdentityInfluenceTest, NeedsNoFitAndRecordsItsSamples) {
  const auto identity = Make();
  EXPECT_TRUE(identity->is_fitted());
  EXPECT_TRUE(identity->is_thread_safe());
  EXPECT_EQ(identity->num_fitted_samples(), 0);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto data,
                                 TensorBatchSequence::Create(train_, 2));
  INFLUENCE_ASSERT_OK(
      identity->Fit(std::make_shared<const TensorBatchSequence>(data)));
  EXPECT_EQ(identity->num_fitted_samples(), 5);
  const std::vector<BlockReport> report = identity->report();
  ASSERT_EQ(report.size(), 2);
  EXPECT_EQ(report[1].block, "2");
  EXPECT_EQ(report[1].size, 10);
  EXPECT_FALSE(report[1].regularization.has_value());
}

TEST_F(IdentityInfluenceTest, TakesNoRegularization) {
  EXPECT_THAT(Make()->WithRegularization(Regularization::Auto()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("regularization")));
  EXPECT_THAT(
      IdentityInfluence::Create(
          nullptr,
          ParameterBlocks::Create(provider_->model(), BlockStructure::kFull)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("provider")));
}

TEST_F(IdentityInfluenceTest, IsRestoredFromItsState) {
  const auto identity = Make();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto data,
                                 TensorBatchSequence::Create(train_, 2));
  INFLUENCE_ASSERT_OK(
      identity->Fit(std::make_shared<const TensorBatchSequence>(data)));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(FittedState state, identity->ExportState());
  EXPECT_EQ(state.method, "identity");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto restored,
                                 IdentityInfluence::Restore(provider_, state));
  EXPECT_EQ(restored->num_fitted_samples(), 5);
  EXPECT_EQ(restored->report()[1].block, "2");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                 identity->Influences(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                 restored->Influences(test_, train_));
  EXPECT_TRUE(scores.equal(expected));
  state.method = "direct";
  EXPECT_THAT(IdentityInfluence::Restore(provider_, state),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found method direct")));
}

}  // namespace
}  // namespace influence
