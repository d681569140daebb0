// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/curvature_source.h"

#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/linalg_inv.h"
#include "ATen/ops/outer.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/generalized_linear_model.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/curvature.h"
#include "operators/operator.h"
#include "operators/operator_testing.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

constexpr double kTolerance = 1e-12;
constexpr double kLambda = 0.05;
constexpr int64_t kSize = 20;

// Softmax regression, which both kinds of source can do.
class CurvatureSourceTest : public testing::TestWithParam<bool> {
 protected:
  std::unique_ptr<const CurvatureSource> MakeSource() const {
    if (!GetParam()) return CreateCurvatureSource(provider_);
    return CreateCurvatureSource(*GeneralizedLinearModel::Create(
        GeneralizedLinearLoss::kCrossEntropy, network_->parameters()[0].tensor,
        network_->parameters()[1].tensor));
  }

  at::Tensor Expected(Curvature curvature) const {
    return curvature == Curvature::kGaussNewton
               ? DenseGaussNewton(*provider_, batch_)
               : DenseGeneralizedGaussNewton(*provider_, batch_);
  }

  std::shared_ptr<const Model> network_ = TanhMlp({3, 4}, at::kDouble, 1);
  Batch batch_ = SeededClassification(kSize, 3, 4, at::kDouble, 2);
  std::shared_ptr<const BatchSequence> data_ =
      std::make_shared<const TensorBatchSequence>(
          *TensorBatchSequence::Create(batch_, 7));
  std::shared_ptr<const GradientProvider> provider_ =
      *AutogradGradientProvider::Create(network_, CrossEntropyLoss());
  std::unique_ptr<const CurvatureSource> source_ = MakeSource();
};

INSTANTIATE_TEST_SUITE_P(ClosedForm, CurvatureSourceTest, testing::Bool());

TEST_P(CurvatureSourceTest, SaysItsSizeAndAccuracy) {
  EXPECT_EQ(source_->num_parameters(), 16);
  EXPECT_EQ(source_->dtype(), at::kDouble);
  EXPECT_EQ(source_->relative_accuracy(), 0x1.0p-52);
}

TEST_P(CurvatureSourceTest, FormsAreThoseOfTheDefinition) {
  for (const Curvature curvature :
       {Curvature::kHessian, Curvature::kGaussNewton,
        Curvature::kGeneralizedGaussNewton}) {
    SCOPED_TRACE(CurvatureName(curvature));
    const at::Tensor expected = Expected(curvature);
    EXPECT_THAT(*source_->Dense(curvature, *data_),
                TensorNear(expected, kTolerance));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const std::shared_ptr<const Operator> products,
        source_->Products(curvature, data_, kLambda));
    ExpectOperatorContract(*products,
                           expected.add(at::eye(16, at::kDouble).mul(kLambda)));
  }
  EXPECT_THAT(
      *source_->GaussNewtonDiagonal(*data_),
      TensorNear(Expected(Curvature::kGaussNewton).diagonal().contiguous(),
                 kTolerance));
}

TEST_P(CurvatureSourceTest, InverseHarmonicMeanIsTheMeanOfInverses) {
  const at::Tensor grads = *provider_->FlatGrads(batch_);
  at::Tensor mean = at::zeros({16, 16}, at::kDouble);
  for (int64_t n = 0; n < kSize; ++n) {
    mean.add_(at::linalg_inv(at::outer(grads[n], grads[n])
                                 .add(at::eye(16, at::kDouble).mul(kLambda))),
              1.0 / kSize);
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const Operator> inverse,
                                 source_->InverseHarmonicMean(data_, kLambda));
  ExpectOperatorContract(*inverse, mean);
  EXPECT_THAT(source_->InverseHarmonicMean(data_, 0),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("regularization")));
}

TEST(SingleBatchesTest, EachIsASequenceOfItsOwn) {
  const Batch batch = SeededClassification(5, 3, 4, at::kDouble, 2);
  const auto data = std::make_shared<const TensorBatchSequence>(
      *TensorBatchSequence::Create(batch, 2));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::vector<SingleBatch> singles,
                                 SingleBatches(data));
  ASSERT_EQ(singles.size(), 3u);
  EXPECT_EQ(singles[2].num_samples, 1);
  EXPECT_EQ(singles[1].data->num_batches(), 1);
  EXPECT_EQ(singles[1].data->num_samples(), 2);
  EXPECT_TRUE(singles[1].data->Get(0)->x[0].equal(batch.x[0].narrow(0, 2, 2)));
  EXPECT_THAT(singles[1].data->Get(1),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("index 1")));
}

}  // namespace
}  // namespace influence
