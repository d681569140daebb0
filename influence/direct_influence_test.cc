// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/direct_influence.h"

#include <cstddef>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/einsum.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/linalg_eigvalsh.h"
#include "ATen/ops/linalg_solve.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

Regularization Constant(double value) {
  return *Regularization::Constant(value);
}

class DirectInfluenceTest : public testing::Test {
 protected:
  void SetUp() override {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        provider_,
        CapturingGradientProvider::Create(model_, CrossEntropyLoss(), train_));
  }

  ParameterBlocks Blocks(BlockStructure structure) const {
    return ParameterBlocks::Create(*model_, structure);
  }

  std::shared_ptr<const BatchSequence> Data(int64_t batch_size = 4) const {
    return std::make_shared<const TensorBatchSequence>(
        *TensorBatchSequence::Create(train_, batch_size));
  }

  std::unique_ptr<DirectInfluence> Make(BlockStructure structure,
                                        const Regularization& regularization,
                                        Curvature curvature) const {
    DirectInfluenceOptions options;
    options.curvature = curvature;
    options.regularization = regularization;
    return *DirectInfluence::Create(provider_, Blocks(structure), options);
  }

  std::unique_ptr<DirectInfluence> MakeFitted(
      BlockStructure structure, const Regularization& regularization,
      Curvature curvature = Curvature::kGaussNewton) const {
    auto direct = Make(structure, regularization, curvature);
    EXPECT_THAT(direct->Fit(Data()), IsOk());
    return direct;
  }

  std::shared_ptr<const Model> model_ = TanhMlp({3, 4, 2}, at::kDouble, 1);
  std::shared_ptr<const GradientProvider> provider_;
  Batch test_ = SeededClassification(3, 3, 2, at::kDouble, 7);
  Batch train_ = SeededClassification(9, 3, 2, at::kDouble, 8);
};

TEST_F(DirectInfluenceTest, EqualsADenseSolveBlockByBlock) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor left, provider_->FlatGrads(test_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor right,
                                 provider_->FlatGrads(train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor mixed,
                                 provider_->FlatMixedGrads(train_));
  const at::Tensor dense = DenseGaussNewton(*provider_, train_);
  for (const BlockStructure structure :
       {BlockStructure::kFull, BlockStructure::kLayer,
        BlockStructure::kParameter}) {
    SCOPED_TRACE(BlockStructureName(structure));
    const auto direct = MakeFitted(structure, Constant(0.1));
    at::Tensor up = at::zeros({3, 9}, at::kDouble);
    at::Tensor perturbation = at::zeros({3, 9, 3}, at::kDouble);
    for (const ParameterBlock& block : direct->blocks().blocks()) {
      const auto cut = [&](const at::Tensor& t) {
        return t.narrow(-1, block.offset, block.size);
      };
      const at::Tensor a = cut(dense.narrow(0, block.offset, block.size))
                               .add(at::eye(block.size, at::kDouble), 0.1);
      const at::Tensor factors =
          at::linalg_solve(a, cut(left).t(), /*left=*/true).t();
      up.add_(factors.matmul(cut(right).t()));
      perturbation.add_(at::einsum("mp,nxp->mnx", {factors, cut(mixed)}));
    }
    // Condition numbers below 100.
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                   direct->Influences(test_, train_));
    EXPECT_THAT(scores, TensorNear(up, 1e-12));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        scores,
        direct->Influences(test_, train_, InfluenceMode::kPerturbation));
    EXPECT_THAT(scores, TensorNear(perturbation, 1e-12));
  }
}

TEST_F(DirectInfluenceTest, IsIndependentOfBatchSizeAndThreads) {
  for (const Curvature curvature :
       {Curvature::kHessian, Curvature::kGaussNewton,
        Curvature::kGeneralizedGaussNewton}) {
    SCOPED_TRACE(CurvatureName(curvature));
    auto whole = Make(BlockStructure::kLayer, Constant(0.5), curvature);
    INFLUENCE_ASSERT_OK(whole->Fit(Data(9)));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                   whole->Influences(test_, train_));
    for (const int64_t batch_size : {1, 2, 4}) {
      SCOPED_TRACE(absl::StrCat("batches of ", batch_size));
      DirectInfluenceOptions options;
      options.curvature = curvature;
      options.regularization = Constant(0.5);
      options.num_threads = 1 + static_cast<int>(batch_size % 2);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          auto direct, DirectInfluence::Create(
                           provider_, Blocks(BlockStructure::kLayer), options));
      INFLUENCE_ASSERT_OK(direct->Fit(Data(batch_size)));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                     direct->Influences(test_, train_));
      EXPECT_THAT(scores, TensorNear(expected, 1e-12));
    }
  }
}

TEST_F(DirectInfluenceTest, AnotherRegularizationEqualsAFreshFit) {
  const auto direct = MakeFitted(BlockStructure::kLayer, Constant(0.1));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto other,
                                 direct->WithRegularization(Constant(0.7)));
  const auto fresh = MakeFitted(BlockStructure::kLayer, Constant(0.7));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                 fresh->Influences(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                 other->Influences(test_, train_));
  EXPECT_THAT(scores, TensorNear(expected, 1e-14));
  EXPECT_EQ(other->num_fitted_samples(), 9);
}

TEST_F(DirectInfluenceTest, ARegularizationByBlockIsAppliedByBlock) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const Regularization by_block,
      Regularization::ByBlock({{"2", 0.7}, {"0", 0.1}}));
  const auto mixed = MakeFitted(BlockStructure::kLayer, by_block);
  const auto low = MakeFitted(BlockStructure::kLayer, Constant(0.1));
  const auto high = MakeFitted(BlockStructure::kLayer, Constant(0.7));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(TensorMap blocks,
                                 mixed->InfluencesByBlock(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(TensorMap low_blocks,
                                 low->InfluencesByBlock(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(TensorMap high_blocks,
                                 high->InfluencesByBlock(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor first, blocks.Find("0"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor second, blocks.Find("2"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor low_first, low_blocks.Find("0"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor high_second, high_blocks.Find("2"));
  EXPECT_THAT(first, TensorNear(low_first, 1e-14));
  EXPECT_THAT(second, TensorNear(high_second, 1e-14));
  EXPECT_EQ(mixed->report()[0].regularization, 0.1);
  EXPECT_EQ(mixed->report()[1].regularization, 0.7);
}

TEST_F(DirectInfluenceTest, GivesTheEigenvaluesOfItsCurvatures) {
  const auto unfitted =
      Make(BlockStructure::kLayer, Constant(0.1), Curvature::kGaussNewton);
  EXPECT_THAT(unfitted->CurvatureEigenvalues(),
              StatusIs(absl::StatusCode::kFailedPrecondition, testing::_));
  const auto direct = MakeFitted(BlockStructure::kLayer, Constant(0.1));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::vector<at::Tensor> eigenvalues,
                                 direct->CurvatureEigenvalues());
  ASSERT_EQ(eigenvalues.size(), 2);
  for (size_t b = 0; b < 2; ++b) {
    const at::Tensor c = direct->curvatures()[b];
    ASSERT_EQ(eigenvalues[b].sizes(), at::IntArrayRef({c.size(0)}));
    EXPECT_TRUE(eigenvalues[b].diff().le(0).all().item<bool>());
    EXPECT_NEAR(eigenvalues[b].sum().item<double>(),
                c.diagonal().sum().item<double>(), 1e-12);
    EXPECT_NEAR(eigenvalues[b].square().sum().item<double>(),
                c.square().sum().item<double>(), 1e-12);
  }
}

TEST_F(DirectInfluenceTest, CurvatureIsSharedAndUnchangedBlocksAreKept) {
  const auto direct = MakeFitted(BlockStructure::kLayer, Constant(0.1));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const Regularization by_block,
      Regularization::ByBlock({{"0", 0.1}, {"2", 0.7}}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto other,
                                 direct->WithRegularization(by_block));
  const auto* other_direct = dynamic_cast<const DirectInfluence*>(other.get());
  ASSERT_NE(other_direct, nullptr);
  for (size_t b = 0; b < 2; ++b) {
    EXPECT_EQ(other_direct->curvatures()[b].data_ptr(),
              direct->curvatures()[b].data_ptr());
  }
}

TEST_F(DirectInfluenceTest, AutoIsATenthOfTheMeanSquaredGradient) {
  const at::Tensor diagonal = DenseGaussNewton(*provider_, train_).diagonal();
  for (const Curvature curvature :
       {Curvature::kGaussNewton, Curvature::kGeneralizedGaussNewton}) {
    const auto direct =
        MakeFitted(BlockStructure::kLayer, Regularization::Auto(), curvature);
    for (size_t b = 0; b < 2; ++b) {
      const ParameterBlock& block = direct->blocks().blocks()[b];
      const double expected =
          0.1 *
          diagonal.narrow(0, block.offset, block.size).mean().item<double>();
      EXPECT_NEAR(*direct->report()[b].regularization, expected,
                  1e-13 * expected);
    }
    INFLUENCE_ASSERT_OK_AND_ASSIGN(auto other,
                                   direct->WithRegularization(Constant(1)));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        auto back, other->WithRegularization(Regularization::Auto()));
    EXPECT_EQ(back->report()[0].regularization,
              direct->report()[0].regularization);
  }
  const auto fixed = MakeFitted(BlockStructure::kLayer, Constant(1));
  EXPECT_THAT(
      fixed->WithRegularization(Regularization::Auto()),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("auto")));
}

TEST_F(DirectInfluenceTest, ReportsAnIndefiniteHessianAndSolvesAllTheSame) {
  const at::Tensor hessian = HessianByDifferences(*provider_, train_);
  const double smallest = at::linalg_eigvalsh(hessian).min().item<double>();
  ASSERT_LT(smallest, -0.01);
  const auto direct =
      MakeFitted(BlockStructure::kFull, Constant(1e-3), Curvature::kHessian);
  ASSERT_EQ(direct->report().size(), 1);
  const BlockReport report = direct->report()[0];
  EXPECT_EQ(report.block, "full");
  EXPECT_EQ(report.size, 26);
  ASSERT_TRUE(report.smallest_eigenvalue.has_value());
  EXPECT_NEAR(*report.smallest_eigenvalue, smallest + 1e-3, 1e-8);
  // What the factors solve.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor factors,
                                 direct->InfluenceFactors(test_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor grads, provider_->FlatGrads(test_));
  EXPECT_THAT(factors.matmul(hessian).add(factors, 1e-3),
              TensorNear(grads, 1e-5));
}

// A unit whose output nothing uses has a curvature of zero.
TEST_F(DirectInfluenceTest, SingularBlockIsAnErrorThatNamesItAndTheOption) {
  const at::Tensor w = ParameterLike(SeededNormal({1, 3}, at::kDouble, 1));
  const at::Tensor dead = ParameterLike(SeededNormal({2}, at::kDouble, 2));
  const auto model = std::make_shared<const FunctionModel>(
      std::vector<NamedParameter>{{"live.w", w}, {"dead.w", dead}},
      [w](const std::vector<at::Tensor>& x) { return x[0].matmul(w.t()); });
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto provider,
      AutogradGradientProvider::Create(model, MeanSquaredErrorLoss()));
  DirectInfluenceOptions options;
  options.regularization = Constant(0);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto direct,
      DirectInfluence::Create(
          provider, ParameterBlocks::Create(*model, BlockStructure::kLayer),
          options));
  const Batch batch = {{SeededNormal({9, 3}, at::kDouble, 3)},
                       SeededNormal({9, 1}, at::kDouble, 4)};
  const auto data = std::make_shared<const TensorBatchSequence>(
      *TensorBatchSequence::Create(batch, 9));
  EXPECT_THAT(
      direct->Fit(data),
      StatusIs(kInvalid, AllOf(HasSubstr("block dead"), HasSubstr("singular"),
                               HasSubstr("--regularization"))));
  EXPECT_FALSE(direct->is_fitted());
  EXPECT_TRUE(direct->report().empty());
}

TEST_F(DirectInfluenceTest, NeedsAFit) {
  const auto direct =
      Make(BlockStructure::kFull, Constant(0.1), Curvature::kHessian);
  EXPECT_TRUE(direct->report().empty());
  EXPECT_THAT(
      direct->Influences(test_, train_),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("Fit()")));
  EXPECT_THAT(
      direct->WithRegularization(Constant(1)),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("Fit()")));
}

TEST_F(DirectInfluenceTest, RefusesBadArguments) {
  DirectInfluenceOptions options;
  EXPECT_THAT(
      DirectInfluence::Create(nullptr, Blocks(BlockStructure::kFull), options),
      StatusIs(kInvalid, HasSubstr("provider")));
  options.num_threads = -2;
  EXPECT_THAT(DirectInfluence::Create(provider_, Blocks(BlockStructure::kFull),
                                      options),
              StatusIs(kInvalid, HasSubstr("num_threads: found -2")));
  options.num_threads = 0;
  options.regularization = *Regularization::ByBlock({{"nothing", 1}});
  EXPECT_THAT(DirectInfluence::Create(provider_, Blocks(BlockStructure::kLayer),
                                      options),
              StatusIs(kInvalid, HasSubstr("nothing")));
}

TEST_F(DirectInfluenceTest, NamesSamplesThatAreNotFinite) {
  const auto direct = MakeFitted(BlockStructure::kFull, Constant(0.1));
  Batch bad = train_;
  bad.x[0] = bad.x[0].clone();
  bad.x[0][4][1] = std::numeric_limits<double>::infinity();
  EXPECT_THAT(direct->Influences(test_, bad),
              StatusIs(kInvalid, AllOf(HasSubstr("x"), HasSubstr("4"))));
  EXPECT_THAT(direct->Influences(bad, train_),
              StatusIs(kInvalid, AllOf(HasSubstr("x"), HasSubstr("4"))));
  // Finite inputs whose gradients overflow.
  bad.x[0] = train_.x[0].clone();
  bad.x[0][2].fill_(1e308);
  const auto linear = TanhMlp({3, 2}, at::kDouble, 1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto provider,
      AutogradGradientProvider::Create(linear, MeanSquaredErrorLoss()));
  DirectInfluenceOptions options;
  options.curvature = Curvature::kGaussNewton;
  options.regularization = Constant(1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto overflowing,
      DirectInfluence::Create(
          provider, ParameterBlocks::Create(*linear, BlockStructure::kFull),
          options));
  bad.y = at::zeros({9, 2}, at::kDouble);
  EXPECT_THAT(overflowing->Fit(std::make_shared<const TensorBatchSequence>(
                  *TensorBatchSequence::Create(bad, 4))),
              StatusIs(kInvalid, HasSubstr("finite")));
}

TEST_F(DirectInfluenceTest, IsRestoredFromItsState) {
  const auto direct =
      MakeFitted(BlockStructure::kLayer, Regularization::Auto());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(FittedState state, direct->ExportState());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto restored,
                                 DirectInfluence::Restore(provider_, state));
  EXPECT_EQ(restored->num_fitted_samples(), 9);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                 direct->Influences(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                 restored->Influences(test_, train_));
  EXPECT_TRUE(scores.equal(expected));

  // Another regularization later, and the automatic one again.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto other,
                                 restored->WithRegularization(Constant(0.7)));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      other, other->WithRegularization(Regularization::Auto()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(scores, other->Influences(test_, train_));
  EXPECT_TRUE(scores.equal(expected));
}

TEST_F(DirectInfluenceTest, RefusesAStateThatDoesNotFit) {
  EXPECT_THAT(Make(BlockStructure::kFull, Constant(1), Curvature::kHessian)
                  ->ExportState(),
              StatusIs(absl::StatusCode::kFailedPrecondition, testing::_));
  const auto direct = MakeFitted(BlockStructure::kLayer, Constant(0.1));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedState state,
                                 direct->ExportState());
  FittedState bad = state;
  bad.method = "cg";
  EXPECT_THAT(DirectInfluence::Restore(provider_, bad),
              StatusIs(kInvalid, HasSubstr("found method cg")));
  bad = state;
  bad.options.clear();
  EXPECT_THAT(DirectInfluence::Restore(provider_, bad),
              StatusIs(kInvalid, HasSubstr("no option curvature")));
  bad = state;
  bad.arrays.pop_back();
  EXPECT_THAT(DirectInfluence::Restore(provider_, bad),
              StatusIs(kInvalid, HasSubstr("no array 2/curvature")));
  bad = state;
  bad.arrays[0].values = bad.arrays[0].values.narrow(0, 0, 3);
  EXPECT_THAT(DirectInfluence::Restore(provider_, bad),
              StatusIs(kInvalid, HasSubstr("found shape [3, 16]")));
  bad = state;
  bad.regularization.clear();
  EXPECT_THAT(DirectInfluence::Restore(provider_, bad),
              StatusIs(kInvalid, HasSubstr("found 0 regularizations")));
}

}  // namespace
}  // namespace influence
