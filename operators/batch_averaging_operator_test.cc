// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/batch_averaging_operator.h"

#include <limits>
#include <memory>
#include <string>

#include "ATen/core/Tensor.h"
#include "ATen/ops/eye.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/curvature.h"
#include "operators/operator_testing.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kNumSamples = 7;

class BatchAveragingOperatorTest : public testing::TestWithParam<Curvature> {
 protected:
  void SetUp() override {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        provider_, AutogradGradientProvider::Create(
                       TanhMlp({3, 3, 2}, at::kDouble, 1), CrossEntropyLoss()));
    operation_ = CreateCurvatureOperation(GetParam(), provider_);
    switch (GetParam()) {
      case Curvature::kHessian:
        dense_ = HessianByDifferences(*provider_, batch_);
        break;
      case Curvature::kGaussNewton:
        dense_ = DenseGaussNewton(*provider_, batch_);
        break;
      case Curvature::kGeneralizedGaussNewton:
        dense_ = DenseGeneralizedGaussNewton(*provider_, batch_);
        break;
    }
  }

  std::shared_ptr<const BatchSequence> Data(int64_t batch_size) const {
    return std::make_shared<const TensorBatchSequence>(
        *TensorBatchSequence::Create(batch_, batch_size));
  }

  // Central differences are exact to about 1e-9.
  double tolerance() const {
    return GetParam() == Curvature::kHessian ? 1e-8 : 1e-13;
  }

  std::shared_ptr<const GradientProvider> provider_;
  std::shared_ptr<const BatchOperation> operation_;
  Batch batch_ = SeededClassification(kNumSamples, 3, 2, at::kDouble, 2);
  at::Tensor dense_;  // Of all samples at once.
};

// Batches of 3, 3 and 1: every sample weighs the same.
TEST_P(BatchAveragingOperatorTest, UnevenLastBatchWeighsItsSamples) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto op, BatchAveragingOperator::Create(operation_, Data(3)));
  OperatorContract contract;
  contract.relative_tolerance = tolerance();
  ExpectOperatorContract(*op, dense_, contract);
}

TEST_P(BatchAveragingOperatorTest, AddsTheRegularization) {
  BatchAveragingOptions options;
  options.regularization = 0.25;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto op, BatchAveragingOperator::Create(operation_, Data(2), options));
  OperatorContract contract;
  contract.relative_tolerance = tolerance();
  ExpectOperatorContract(
      *op, dense_.add(at::eye(dense_.size(0), at::kDouble), 0.25), contract);
}

TEST_P(BatchAveragingOperatorTest, IsIndependentOfTheBatchSize) {
  const at::Tensor v =
      SeededNormal({3, operation_->input_size()}, at::kDouble, 3);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto whole,
      BatchAveragingOperator::Create(operation_, Data(kNumSamples)));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected, whole->Apply(v));
  for (const int64_t batch_size : {1, 2, 4, 6}) {
    SCOPED_TRACE(absl::StrCat("batches of ", batch_size));
    for (const bool merge_small_batches : {false, true}) {
      BatchAveragingOptions options;
      options.merge_small_batches = merge_small_batches;
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          auto op, BatchAveragingOperator::Create(operation_, Data(batch_size),
                                                  options));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor product, op->Apply(v));
      EXPECT_THAT(product, TensorNear(expected, 1e-14));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Curvatures, BatchAveragingOperatorTest,
                         testing::Values(Curvature::kHessian,
                                         Curvature::kGaussNewton,
                                         Curvature::kGeneralizedGaussNewton),
                         [](const testing::TestParamInfo<Curvature>& test) {
                           return std::string(CurvatureName(test.param));
                         });

using BatchAveragingOperatorGaussNewtonTest = BatchAveragingOperatorTest;
INSTANTIATE_TEST_SUITE_P(GaussNewton, BatchAveragingOperatorGaussNewtonTest,
                         testing::Values(Curvature::kGaussNewton));

TEST_P(BatchAveragingOperatorGaussNewtonTest, ChunkAveragingWeighsBatches) {
  BatchAveragingOptions options;
  options.averaging = std::make_shared<const ChunkAveraging>();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto op, BatchAveragingOperator::Create(operation_, Data(4), options));
  options.merge_small_batches = true;
  EXPECT_THAT(BatchAveragingOperator::Create(operation_, Data(4), options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("merge_small_batches")));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(Batch first, SliceBatch(batch_, 0, 4));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(Batch last, SliceBatch(batch_, 4, 7));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor product,
      op->Apply(at::eye(operation_->input_size(), at::kDouble)));
  EXPECT_THAT(product, TensorNear(DenseGaussNewton(*provider_, first)
                                      .add(DenseGaussNewton(*provider_, last))
                                      .div(2),
                                  1e-13));
}

TEST_P(BatchAveragingOperatorGaussNewtonTest, RefusesBadArguments) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(BatchAveragingOperator::Create(nullptr, Data(1)),
              StatusIs(invalid, HasSubstr("operation")));
  EXPECT_THAT(BatchAveragingOperator::Create(operation_, nullptr),
              StatusIs(invalid, HasSubstr("data")));
  BatchAveragingOptions options;
  options.regularization = std::numeric_limits<double>::infinity();
  EXPECT_THAT(BatchAveragingOperator::Create(operation_, Data(1), options),
              StatusIs(invalid, HasSubstr("regularization")));
}

TEST_P(BatchAveragingOperatorGaussNewtonTest, ReturnsTheErrorOfABatch) {
  class BrokenSequence : public BatchSequence {
   public:
    int64_t num_batches() const override { return 2; }
    int64_t num_samples() const override { return 2; }
    absl::StatusOr<Batch> Get(int64_t /*index*/) const override {
      return absl::DataLossError("cannot read batch");
    }
  };
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto op, BatchAveragingOperator::Create(
                   operation_, std::make_shared<const BrokenSequence>()));
  EXPECT_THAT(op->Apply(at::eye(operation_->input_size(), at::kDouble)),
              StatusIs(absl::StatusCode::kDataLoss, "cannot read batch"));
}

}  // namespace
}  // namespace influence
