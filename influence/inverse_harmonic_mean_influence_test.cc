// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/inverse_harmonic_mean_influence.h"

#include <cstdint>
#include <memory>

#include "ATen/core/Tensor.h"
#include "ATen/ops/einsum.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/inverse.h"
#include "ATen/ops/outer.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
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

using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

Regularization Constant(double value) {
  return *Regularization::Constant(value);
}

class InverseHarmonicMeanInfluenceTest : public testing::Test {
 protected:
  void SetUp() override {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        provider_,
        CapturingGradientProvider::Create(model_, CrossEntropyLoss(), train_));
  }

  std::shared_ptr<const BatchSequence> Data(int64_t batch_size = 4) const {
    return std::make_shared<const TensorBatchSequence>(
        *TensorBatchSequence::Create(train_, batch_size));
  }

  std::unique_ptr<InverseHarmonicMeanInfluence> MakeFitted(
      BlockStructure structure, const Regularization& regularization,
      int64_t batch_size = 4, int64_t memory_limit = int64_t{1} << 20) const {
    InverseHarmonicMeanInfluenceOptions options;
    options.regularization = regularization;
    options.gradients.memory_limit = memory_limit;
    auto influence = *InverseHarmonicMeanInfluence::Create(
        provider_, ParameterBlocks::Create(*model_, structure), options);
    EXPECT_THAT(influence->Fit(Data(batch_size)), IsOk());
    return influence;
  }

  std::shared_ptr<const Model> model_ = TanhMlp({6, 8, 2}, at::kDouble, 1);
  std::shared_ptr<const GradientProvider> provider_;
  Batch test_ = SeededClassification(5, 6, 2, at::kDouble, 7);
  Batch train_ = SeededClassification(9, 6, 2, at::kDouble, 8);
};

TEST_F(InverseHarmonicMeanInfluenceTest, EqualsTheMeanOfDenseInverses) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor left, provider_->FlatGrads(test_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor right,
                                 provider_->FlatGrads(train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor mixed,
                                 provider_->FlatMixedGrads(train_));
  for (const BlockStructure structure :
       {BlockStructure::kFull, BlockStructure::kLayer,
        BlockStructure::kParameter}) {
    SCOPED_TRACE(BlockStructureName(structure));
    at::Tensor factors = at::zeros(left.sizes(), at::kDouble);
    const ParameterBlocks blocks = ParameterBlocks::Create(*model_, structure);
    for (const ParameterBlock& block : blocks.blocks()) {
      const at::Tensor grads = right.narrow(1, block.offset, block.size);
      at::Tensor mean = at::zeros({block.size, block.size}, at::kDouble);
      for (int64_t n = 0; n < 9; ++n) {
        mean.add_(at::inverse(at::outer(grads[n], grads[n])
                                  .add(at::eye(block.size, at::kDouble), 0.1)));
      }
      factors.narrow(1, block.offset, block.size)
          .copy_(left.narrow(1, block.offset, block.size).matmul(mean.div(9)));
    }
    for (const int64_t limit : {int64_t{0}, int64_t{1} << 20}) {
      for (const int64_t batch_size : {1, 4, 9}) {
        const auto influence =
            MakeFitted(structure, Constant(0.1), batch_size, limit);
        INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                       influence->Influences(test_, train_));
        EXPECT_THAT(scores, TensorNear(factors.matmul(right.t()), 1e-12));
        INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor found,
                                       influence->InfluenceFactors(test_));
        EXPECT_THAT(found, TensorNear(factors, 1e-12));
      }
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          at::Tensor scores,
          MakeFitted(structure, Constant(0.1), 4, limit)
              ->Influences(test_, train_, InfluenceMode::kPerturbation));
      EXPECT_THAT(
          scores,
          TensorNear(at::einsum("mp,nxp->mnx", {factors, mixed}), 1e-12));
    }
  }
}

TEST_F(InverseHarmonicMeanInfluenceTest, AnotherRegularizationIsAFreshFit) {
  const auto influence =
      MakeFitted(BlockStructure::kLayer, Regularization::Auto());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto other,
                                 influence->WithRegularization(Constant(0.7)));
  const auto fresh = MakeFitted(BlockStructure::kLayer, Constant(0.7));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                 fresh->Influences(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                 other->Influences(test_, train_));
  EXPECT_TRUE(scores.equal(expected));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      other, other->WithRegularization(Regularization::Auto()));
  const at::Tensor diagonal = DenseGaussNewton(*provider_, train_).diagonal();
  EXPECT_NEAR(*other->report()[1].regularization,
              0.1 * diagonal.narrow(0, 56, 18).mean().item<double>(), 1e-14);
  EXPECT_THAT(influence->WithRegularization(Constant(0)),
              StatusIs(kInvalid, HasSubstr("--regularization")));
  EXPECT_THAT(
      fresh->WithRegularization(Regularization::Auto()),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("auto")));
}

TEST_F(InverseHarmonicMeanInfluenceTest, IsRestoredFromItsStateAndTheData) {
  const auto influence =
      MakeFitted(BlockStructure::kLayer, Regularization::Auto());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(FittedState state, influence->ExportState());
  EXPECT_EQ(state.method, "ihm");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto restored,
      InverseHarmonicMeanInfluence::Restore(provider_, state, Data()));
  EXPECT_EQ(restored->num_fitted_samples(), 9);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                 influence->Influences(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                 restored->Influences(test_, train_));
  EXPECT_TRUE(scores.equal(expected));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto other, restored->WithRegularization(Regularization::Auto()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(scores, other->Influences(test_, train_));
  EXPECT_TRUE(scores.equal(expected));

  EXPECT_THAT(InverseHarmonicMeanInfluence::Restore(provider_, state, nullptr),
              StatusIs(kInvalid, HasSubstr("data: is null")));
  state.num_fitted_samples = 10;
  EXPECT_THAT(InverseHarmonicMeanInfluence::Restore(provider_, state, Data()),
              StatusIs(kInvalid, HasSubstr("found 9 samples, expected 10")));
  state.method = "direct";
  EXPECT_THAT(InverseHarmonicMeanInfluence::Restore(provider_, state, Data()),
              StatusIs(kInvalid, HasSubstr("found method direct")));
}

TEST_F(InverseHarmonicMeanInfluenceTest, RefusesBadArguments) {
  InverseHarmonicMeanInfluenceOptions options;
  options.regularization = Constant(0);
  const ParameterBlocks blocks =
      ParameterBlocks::Create(*model_, BlockStructure::kFull);
  EXPECT_THAT(
      InverseHarmonicMeanInfluence::Create(provider_, blocks, options),
      StatusIs(kInvalid, HasSubstr("regularization: found 0, expected a value "
                                   "> 0")));
  EXPECT_THAT(InverseHarmonicMeanInfluence::Create(nullptr, blocks),
              StatusIs(kInvalid, HasSubstr("provider: is null")));
  options.regularization = Constant(1);
  options.gradients.memory_limit = -1;
  EXPECT_THAT(InverseHarmonicMeanInfluence::Create(provider_, blocks, options),
              StatusIs(kInvalid, HasSubstr("memory_limit: found -1")));
}

}  // namespace
}  // namespace influence
