// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/inverse_harmonic_mean_operator.h"

#include <limits>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/einsum.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/inverse.h"
#include "ATen/ops/outer.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/operator_testing.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr double kRegularization = 0.1;

// mean_n (g_n g_n^T + lambda I)^-1 with dense inverses.
at::Tensor DenseMean(const at::Tensor& grads) {
  const int64_t size = grads.size(1);
  at::Tensor sum = at::zeros({size, size}, at::kDouble);
  for (int64_t n = 0; n < grads.size(0); ++n) {
    sum.add_(
        at::inverse(at::outer(grads[n], grads[n])
                        .add(at::eye(size, at::kDouble), kRegularization)));
  }
  return sum.div(grads.size(0));
}

// P = 208: one query is cheaper written out, nine by Gram products.
class InverseHarmonicMeanOperatorTest : public testing::Test {
 protected:
  void SetUp() override {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        plain_, AutogradGradientProvider::Create(model_, CrossEntropyLoss()));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        capturing_,
        CapturingGradientProvider::Create(model_, CrossEntropyLoss(), data_));
  }

  std::shared_ptr<const KeptGradients> Keep(
      const std::shared_ptr<const GradientProvider>& provider,
      int64_t batch_size, int64_t memory_limit = int64_t{1} << 20) const {
    KeptGradientsOptions options;
    options.memory_limit = memory_limit;
    return *KeptGradients::Create(
        provider,
        std::make_shared<const TensorBatchSequence>(
            *TensorBatchSequence::Create(data_, batch_size)),
        options);
  }

  std::shared_ptr<const Model> model_ = TanhMlp({12, 12, 4}, at::kDouble, 1);
  Batch data_ = SeededClassification(7, 12, 4, at::kDouble, 3);
  std::shared_ptr<const GradientProvider> plain_;
  std::shared_ptr<const GradientProvider> capturing_;
};

TEST_F(InverseHarmonicMeanOperatorTest, KeepsTheOperatorContract) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor grads, plain_->FlatGrads(data_));
  // The last layer: 48 + 4 parameters.
  const at::Tensor dense = DenseMean(grads.narrow(1, 156, 52));
  for (const int64_t limit : {int64_t{0}, int64_t{1} << 20}) {
    for (const int64_t batch_size : {2, 7}) {
      SCOPED_TRACE(absl::StrCat("limit ", limit, ", batches of ", batch_size));
      const auto kept = Keep(capturing_, batch_size, limit);
      EXPECT_EQ(kept->is_kept(), limit > 0);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          auto op,
          InverseHarmonicMeanOperator::Create(kept, {2, 3}, kRegularization));
      EXPECT_EQ(op->input_size(), 52);
      ExpectOperatorContract(*op, dense);
    }
  }
}

TEST_F(InverseHarmonicMeanOperatorTest, ScoresEqualThoseOfTheDenseMean) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor grads, plain_->FlatGrads(data_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor mixed,
                                 plain_->FlatMixedGrads(data_));
  const at::Tensor dense = DenseMean(grads);
  for (const auto& provider : {plain_, capturing_}) {
    for (const int64_t limit : {int64_t{0}, int64_t{1} << 20}) {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          auto op,
          InverseHarmonicMeanOperator::Create(Keep(provider, 3, limit),
                                              {0, 1, 2, 3}, kRegularization));
      const auto form = op->AsBilinearForm();
      for (const int64_t num_queries : {1, 9}) {
        SCOPED_TRACE(absl::StrCat("limit ", limit, ", queries ", num_queries));
        const Batch test =
            SeededClassification(num_queries, 12, 4, at::kDouble, 5);
        INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor left,
                                       plain_->FlatGrads(test));
        const at::Tensor transformed = left.matmul(dense);
        INFLUENCE_ASSERT_OK_AND_ASSIGN(
            at::Tensor scores, form->GradsInnerProd(test, data_, *provider));
        EXPECT_THAT(scores, TensorNear(transformed.matmul(grads.t()), 1e-12));
        INFLUENCE_ASSERT_OK_AND_ASSIGN(
            scores, form->MixedGradsInnerProd(test, data_, *provider));
        EXPECT_THAT(
            scores,
            TensorNear(at::einsum("mp,nxp->mnx", {transformed, mixed}), 1e-12));
        INFLUENCE_ASSERT_OK_AND_ASSIGN(FactoredGradients factors,
                                       provider->FactoredGrads(test));
        INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto prepared,
                                       form->PrepareGrads(factors));
        INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor own,
                                       prepared->RowwiseInnerProd(factors));
        EXPECT_THAT(own, TensorNear(transformed.mul(left).sum(1), 1e-12));
      }
    }
  }
}

TEST_F(InverseHarmonicMeanOperatorTest, AnotherRegularizationIsAFreshMean) {
  const auto kept = Keep(capturing_, 3);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto other, InverseHarmonicMeanOperator::Create(kept, {2, 3}, 7));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(other,
                                 other->WithRegularization(kRegularization));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor grads, plain_->FlatGrads(data_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor dense,
                                 other->Apply(at::eye(52, at::kDouble)));
  EXPECT_THAT(dense, TensorNear(DenseMean(grads.narrow(1, 156, 52)), 1e-12));
}

TEST_F(InverseHarmonicMeanOperatorTest, RefusesBadArguments) {
  const auto kept = Keep(plain_, 3);
  for (const double value :
       {0.0, -1.0, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THAT(InverseHarmonicMeanOperator::Create(kept, {0}, value),
                StatusIs(kInvalid, HasSubstr("regularization: found")));
  }
  EXPECT_THAT(InverseHarmonicMeanOperator::Create(nullptr, {0}, 1),
              StatusIs(kInvalid, HasSubstr("gradients: is null")));
  EXPECT_THAT(InverseHarmonicMeanOperator::Create(kept, {4}, 1),
              StatusIs(kInvalid, HasSubstr("found 4, expected [0, 4)")));
  EXPECT_THAT(InverseHarmonicMeanOperator::Create(kept, {}, 1),
              StatusIs(kInvalid, HasSubstr("found none")));
}

}  // namespace
}  // namespace influence
