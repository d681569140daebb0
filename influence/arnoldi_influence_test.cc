// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/arnoldi_influence.h"

#include <cstdint>
#include <memory>

#include "ATen/core/Tensor.h"
#include "ATen/ops/linalg_eigvalsh.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

// 180 parameters: rank 3 (subspace 20) goes by products, rank 60 by the dense
// matrix.
class ArnoldiInfluenceTest : public testing::Test {
 protected:
  void SetUp() override {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(provider_, AutogradGradientProvider::Create(
                                                  model_, CrossEntropyLoss()));
  }

  std::shared_ptr<const Model> model_ = TanhMlp({10, 12, 4}, at::kDouble, 1);
  std::shared_ptr<const GradientProvider> provider_;
  Batch train_ = SeededClassification(20, 10, 4, at::kDouble, 8);
};

TEST_F(ArnoldiInfluenceTest, FindsTheLargestEigenvaluesOfTheHessian) {
  const at::Tensor values =
      at::linalg_eigvalsh(HessianByDifferences(*provider_, train_));
  const at::Tensor sorted = values.index_select(
      0, values.abs().argsort(/*dim=*/0, /*descending=*/true));
  for (const int64_t rank : {3, 60}) {
    LowRankInfluenceOptions options;
    options.rank = rank;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const auto influence,
        ArnoldiInfluence::Create(
            provider_, ParameterBlocks::Create(*model_, BlockStructure::kFull),
            options));
    EXPECT_EQ(influence->curvature(), Curvature::kHessian);
    INFLUENCE_ASSERT_OK(
        influence->Fit(std::make_shared<const TensorBatchSequence>(
            *TensorBatchSequence::Create(train_, 6))));
    ASSERT_EQ(influence->eigenvalues().size(), 1);
    // Differences are exact to 1e-9.
    EXPECT_THAT(influence->eigenvalues()[0],
                TensorNear(sorted.narrow(0, 0, rank), 1e-8));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                   influence->Influences(train_, train_));
    EXPECT_THAT(scores, TensorNear(scores.t(), 1e-12));
  }
}

}  // namespace
}  // namespace influence
