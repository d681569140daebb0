// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/kept_curvature_operator.h"

#include <cstdint>
#include <memory>

#include "ATen/core/Tensor.h"
#include "ATen/ops/eye.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/operator_testing.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// 260 samples: two parts of a graph where there are two threads.
class KeptCurvatureOperatorTest : public testing::Test {
 protected:
  void SetUp() override {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        std::shared_ptr<const GradientProvider> whole,
        CapturingGradientProvider::Create(TanhMlp({3, 4, 2}, at::kDouble, 1),
                                          CrossEntropyLoss(), batch_));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(provider_, whole->Restrict({1, 2}));
  }

  std::shared_ptr<const BatchSequence> Data(int64_t batch_size) const {
    return std::make_shared<const TensorBatchSequence>(
        *TensorBatchSequence::Create(batch_, batch_size));
  }

  Batch batch_ = SeededClassification(260, 3, 2, at::kDouble, 3);
  std::shared_ptr<const GradientProvider> provider_;
};

TEST_F(KeptCurvatureOperatorTest, EqualsTheDenseCurvature) {
  const auto expect = [&](Curvature curvature, const at::Tensor& dense,
                          double tolerance) {
    for (const int64_t batch_size : {90, 260}) {
      for (const int64_t limit : {int64_t{0}, int64_t{1} << 24}) {
        SCOPED_TRACE(absl::StrCat(CurvatureName(curvature), ", batches of ",
                                  batch_size, ", limit ", limit));
        KeptCurvatureOptions options;
        options.memory_limit = limit;
        INFLUENCE_ASSERT_OK_AND_ASSIGN(
            const auto op,
            KeptCurvatureOperator::Create(curvature, provider_,
                                          Data(batch_size), options));
        EXPECT_EQ(op->is_kept(), limit > 0);
        OperatorContract contract;
        contract.relative_tolerance = tolerance;
        ExpectOperatorContract(*op, dense, contract);
      }
    }
  };
  // Central differences are exact to about 1e-9.
  expect(Curvature::kHessian, HessianByDifferences(*provider_, batch_), 1e-8);
  expect(Curvature::kGaussNewton, DenseGaussNewton(*provider_, batch_), 1e-12);
  expect(Curvature::kGeneralizedGaussNewton,
         DenseGeneralizedGaussNewton(*provider_, batch_), 1e-12);
}

TEST_F(KeptCurvatureOperatorTest, RefusesBadArguments) {
  constexpr auto kCurvature = Curvature::kHessian;
  EXPECT_THAT(KeptCurvatureOperator::Create(kCurvature, nullptr, Data(4)),
              StatusIs(kInvalid, HasSubstr("provider: is null")));
  EXPECT_THAT(KeptCurvatureOperator::Create(kCurvature, provider_, nullptr),
              StatusIs(kInvalid, HasSubstr("data: is null")));
  KeptCurvatureOptions options;
  options.memory_limit = -1;
  EXPECT_THAT(
      KeptCurvatureOperator::Create(kCurvature, provider_, Data(4), options),
      StatusIs(kInvalid, HasSubstr("memory_limit: found -1")));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto op,
      KeptCurvatureOperator::Create(kCurvature, provider_, Data(100)));
  EXPECT_THAT(op->Apply(at::eye(op->input_size(), at::kFloat)),
              StatusIs(kInvalid, HasSubstr("operand: found dtype float32")));
}

}  // namespace
}  // namespace influence
