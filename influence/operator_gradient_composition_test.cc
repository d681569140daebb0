// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/operator_gradient_composition.h"

#include <memory>
#include <optional>
#include <utility>

#include "ATen/core/Tensor.h"
#include "ATen/ops/einsum.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/gradient_provider.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/direct_inverse.h"
#include "operators/identity_operator.h"
#include "operators/operator.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Sums of a few dozen products; the operators are well conditioned.
constexpr double kTolerance = 1e-12;

class OperatorGradientCompositionTest : public testing::Test {
 protected:
  void SetUp() override {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        provider_, AutogradGradientProvider::Create(
                       TanhMlp({3, 4, 2}, at::kDouble, 1), CrossEntropyLoss()));
    query_provider_ = provider_->WithFunction(MarginFunction());
    const at::Tensor c = DenseGaussNewton(*provider_, right_);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(op_, DirectInverse::Create(c, {0.1}));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(grads_, provider_->FlatGrads(right_));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(mixed_, provider_->FlatMixedGrads(right_));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor left,
                                   query_provider_->FlatGrads(left_));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(factors_, op_->Apply(left));
  }

  OperatorGradientComposition Composition() const {
    return *OperatorGradientComposition::Create(op_, provider_,
                                                query_provider_);
  }

  Batch left_ = SeededClassification(3, 3, 2, at::kDouble, 7);
  Batch right_ = SeededClassification(5, 3, 2, at::kDouble, 8);
  std::shared_ptr<const GradientProvider> provider_;
  std::shared_ptr<const GradientProvider> query_provider_;
  std::shared_ptr<const Operator> op_;
  at::Tensor grads_;    // [5, P]
  at::Tensor mixed_;    // [5, 3, P]
  at::Tensor factors_;  // [3, P], of the query function.
};

TEST_F(OperatorGradientCompositionTest, TransformedGradsAreOfTheQuerySide) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor transformed,
                                 Composition().TransformedGrads(left_));
  EXPECT_THAT(transformed, TensorNear(factors_, kTolerance));
}

TEST_F(OperatorGradientCompositionTest, UpContractsTheTrainingGradients) {
  const at::Tensor expected = factors_.matmul(grads_.t());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor scores,
      Composition().Interactions(left_, right_, InfluenceMode::kUp));
  EXPECT_THAT(scores, TensorNear(expected, kTolerance));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(scores,
                                 Composition().InteractionsFromTransformedGrads(
                                     factors_, right_, InfluenceMode::kUp));
  EXPECT_THAT(scores, TensorNear(expected, kTolerance));
}

TEST_F(OperatorGradientCompositionTest, PerturbationContractsTheMixedOnes) {
  const at::Tensor expected = at::einsum("mp,nxp->mnx", {factors_, mixed_});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor scores,
      Composition().Interactions(left_, right_, InfluenceMode::kPerturbation));
  EXPECT_THAT(scores, TensorNear(expected, kTolerance));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      scores, Composition().InteractionsFromTransformedGrads(
                  factors_, right_, InfluenceMode::kPerturbation));
  EXPECT_THAT(scores, TensorNear(expected, kTolerance));
}

// The right side is the training loss, whatever the query function.
TEST_F(OperatorGradientCompositionTest, RightBatchLeftOutIsTheLeftOne) {
  for (const InfluenceMode mode :
       {InfluenceMode::kUp, InfluenceMode::kPerturbation}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        at::Tensor expected, Composition().Interactions(left_, left_, mode));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        at::Tensor scores,
        Composition().Interactions(left_, std::nullopt, mode));
    EXPECT_THAT(scores, TensorNear(expected, kTolerance));
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto loss_only, OperatorGradientComposition::Create(op_, provider_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor expected,
      loss_only.Interactions(left_, left_, InfluenceMode::kUp));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor scores,
      loss_only.Interactions(left_, std::nullopt, InfluenceMode::kUp));
  EXPECT_THAT(scores, TensorNear(expected, kTolerance));
  EXPECT_THAT(scores, TensorNear(scores.t(), kTolerance));
}

TEST_F(OperatorGradientCompositionTest, RefusesSizesThatDiffer) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(OperatorGradientComposition::Create(
                  std::make_shared<IdentityOperator>(4), provider_),
              StatusIs(invalid, AllOf(HasSubstr("4"), HasSubstr("26"))));
  EXPECT_THAT(OperatorGradientComposition::Create(nullptr, provider_),
              StatusIs(invalid, HasSubstr("operator")));
  EXPECT_THAT(OperatorGradientComposition::Create(op_, nullptr),
              StatusIs(invalid, HasSubstr("provider")));
  EXPECT_THAT(Composition().InteractionsFromTransformedGrads(
                  at::zeros({3, 25}, at::kDouble), right_, InfluenceMode::kUp),
              StatusIs(invalid, AllOf(HasSubstr("factors"), HasSubstr("25"),
                                      HasSubstr("26"))));
}

}  // namespace
}  // namespace influence
