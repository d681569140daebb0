// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/nystroem_influence.h"

#include <cstdint>
#include <memory>

#include "ATen/core/Tensor.h"
#include "ATen/ops/inverse.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "operators/random_matrix.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class NystroemInfluenceTest : public testing::Test {
 protected:
  void SetUp() override {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(provider_, AutogradGradientProvider::Create(
                                                  model_, CrossEntropyLoss()));
  }

  std::shared_ptr<const BatchSequence> Data() const {
    return std::make_shared<const TensorBatchSequence>(
        *TensorBatchSequence::Create(train_, 6));
  }

  std::unique_ptr<NystroemInfluence> Make(
      const LowRankInfluenceOptions& options) const {
    return *NystroemInfluence::Create(
        provider_, ParameterBlocks::Create(*model_, BlockStructure::kFull),
        options);
  }

  std::shared_ptr<const Model> model_ = TanhMlp({5, 6, 3}, at::kDouble, 1);
  std::shared_ptr<const GradientProvider> provider_;
  Batch train_ = SeededClassification(20, 5, 3, at::kDouble, 8);
};

TEST_F(NystroemInfluenceTest, SketchesTheGeneralizedGaussNewtonMatrix) {
  LowRankInfluenceOptions options;
  options.rank = 6;
  options.seed = 4;
  const auto influence = Make(options);
  EXPECT_EQ(influence->curvature(), Curvature::kGeneralizedGaussNewton);
  INFLUENCE_ASSERT_OK(influence->Fit(Data()));
  const LowRank pairs = influence->eigenpairs()[0];
  const at::Tensor c = DenseGeneralizedGaussNewton(*provider_, train_);
  const at::Tensor omega = RandomOrthonormalRows(6, c.size(0), 4);
  const at::Tensor y = omega.matmul(c);
  EXPECT_THAT(
      pairs.u.mul(pairs.d).matmul(pairs.u.t()),
      TensorNear(y.t().matmul(at::inverse(omega.matmul(y.t()))).matmul(y),
                 1e-8));
}

TEST_F(NystroemInfluenceTest, AnIndefiniteHessianIsAnErrorThatNamesIt) {
  for (const int64_t rank : {6, 57}) {
    LowRankInfluenceOptions options;
    options.rank = rank;
    options.curvature = Curvature::kHessian;
    EXPECT_THAT(Make(options)->Fit(Data()),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("block full"), HasSubstr("indefinite"),
                               HasSubstr("--second-order"))));
    options.curvature = Curvature::kGaussNewton;
    INFLUENCE_EXPECT_OK(Make(options)->Fit(Data()));
  }
}

}  // namespace
}  // namespace influence
