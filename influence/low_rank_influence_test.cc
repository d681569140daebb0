// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/low_rank_influence.h"

#include <cstdint>
#include <memory>
#include <tuple>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/diag.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/inverse.h"
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
#include "influence/arnoldi_influence.h"
#include "influence/nystroem_influence.h"
#include "operators/problem_testing.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

Regularization Constant(double value) {
  return *Regularization::Constant(value);
}

// Blocks by layer: 0 (64 parameters), 2 (18).
class LowRankInfluenceTest : public testing::Test {
 protected:
  void SetUp() override {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        provider_,
        CapturingGradientProvider::Create(model_, CrossEntropyLoss(), train_));
  }

  ParameterBlocks Blocks(BlockStructure structure) const {
    return ParameterBlocks::Create(*model_, structure);
  }

  std::shared_ptr<const BatchSequence> Data(int64_t batch_size = 8) const {
    return std::make_shared<const TensorBatchSequence>(
        *TensorBatchSequence::Create(train_, batch_size));
  }

  static LowRankInfluenceOptions Options(int64_t rank, double regularization) {
    LowRankInfluenceOptions options;
    options.curvature = Curvature::kGeneralizedGaussNewton;
    options.regularization = Constant(regularization);
    options.rank = rank;
    return options;
  }

  std::unique_ptr<LowRankInfluence> MakeArnoldi(
      BlockStructure structure, const LowRankInfluenceOptions& options) const {
    return *ArnoldiInfluence::Create(provider_, Blocks(structure), options);
  }

  std::unique_ptr<LowRankInfluence> MakeNystroem(
      BlockStructure structure, const LowRankInfluenceOptions& options) const {
    return *NystroemInfluence::Create(provider_, Blocks(structure), options);
  }

  // Scores from a dense matrix by block.
  template <typename Inverse>
  at::Tensor DenseScores(const ParameterBlocks& blocks,
                         const Inverse& inverse) const {
    const at::Tensor left = *provider_->FlatGrads(test_);
    const at::Tensor right = *provider_->FlatGrads(train_);
    at::Tensor scores = at::zeros({3, 20}, at::kDouble);
    for (size_t b = 0; b < blocks.blocks().size(); ++b) {
      const ParameterBlock& block = blocks.blocks()[b];
      scores.add_(left.narrow(1, block.offset, block.size)
                      .matmul(inverse(b, block))
                      .matmul(right.narrow(1, block.offset, block.size).t()));
    }
    return scores;
  }

  std::shared_ptr<const Model> model_ = TanhMlp({7, 8, 2}, at::kDouble, 1);
  std::shared_ptr<const GradientProvider> provider_;
  Batch test_ = SeededClassification(3, 7, 2, at::kDouble, 7);
  Batch train_ = SeededClassification(20, 7, 2, at::kDouble, 8);
};

TEST_F(LowRankInfluenceTest, GivesEigenvaluesInFallingOrder) {
  LowRankInfluenceOptions options = Options(18, 0.1);
  options.curvature = Curvature::kHessian;  // Indefinite.
  const auto model = MakeArnoldi(BlockStructure::kLayer, options);
  EXPECT_THAT(model->CurvatureEigenvalues(),
              StatusIs(absl::StatusCode::kFailedPrecondition, testing::_));
  INFLUENCE_ASSERT_OK(model->Fit(Data()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::vector<at::Tensor> falling,
                                 model->CurvatureEigenvalues());
  ASSERT_EQ(falling.size(), 2);
  EXPECT_EQ(falling[1].size(0), 18);
  EXPECT_LT(falling[1][17].item<double>(), 0);
  for (size_t b = 0; b < 2; ++b) {
    EXPECT_TRUE(falling[b].diff().le(0).all().item<bool>());
    EXPECT_THAT(std::get<0>(model->eigenvalues()[b].sort()).flip(0),
                TensorNear(falling[b], 0));
  }
}

TEST_F(LowRankInfluenceTest, EqualsTheDenseInverseAtFullRank) {
  const at::Tensor dense = DenseGeneralizedGaussNewton(*provider_, train_);
  for (const BlockStructure structure :
       {BlockStructure::kFull, BlockStructure::kLayer,
        BlockStructure::kParameter}) {
    SCOPED_TRACE(BlockStructureName(structure));
    const at::Tensor expected = DenseScores(
        Blocks(structure), [&](size_t, const ParameterBlock& block) {
          return at::inverse(dense.narrow(0, block.offset, block.size)
                                 .narrow(1, block.offset, block.size)
                                 .add(at::eye(block.size, at::kDouble), 0.1));
        });
    const LowRankInfluenceOptions options = Options(82, 0.1);
    for (const auto& influence :
         {MakeArnoldi(structure, options), MakeNystroem(structure, options)}) {
      INFLUENCE_ASSERT_OK(influence->Fit(Data()));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                     influence->Influences(test_, train_));
      EXPECT_THAT(scores, TensorNear(expected, 1e-10));
    }
  }
}

TEST_F(LowRankInfluenceTest, EqualsTheStatedFormulaOfItsEigenpairs) {
  for (const BlockStructure structure :
       {BlockStructure::kFull, BlockStructure::kLayer}) {
    for (const LowRankForm form :
         {LowRankForm::kExact, LowRankForm::kProjected}) {
      LowRankInfluenceOptions options = Options(5, 0.1);
      options.low_rank_inverse = form;
      for (const auto& influence : {MakeArnoldi(structure, options),
                                    MakeNystroem(structure, options)}) {
        INFLUENCE_ASSERT_OK(influence->Fit(Data()));
        const std::vector<LowRank> pairs = influence->eigenpairs();
        const at::Tensor expected = DenseScores(
            influence->blocks(), [&](size_t b, const ParameterBlock& block) {
              const at::Tensor& u = pairs[b].u;
              const at::Tensor& d = pairs[b].d;
              EXPECT_EQ(d.size(0), 5);
              if (form == LowRankForm::kProjected) {
                return u.matmul(at::diag(d.add(0.1).reciprocal()))
                    .matmul(u.t());
              }
              return at::inverse(
                  u.matmul(at::diag(d))
                      .matmul(u.t())
                      .add(at::eye(block.size, at::kDouble), 0.1));
            });
        INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                       influence->Influences(test_, train_));
        EXPECT_THAT(scores, TensorNear(expected, 1e-10));
        INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor factors,
                                       influence->InfluenceFactors(test_));
        INFLUENCE_ASSERT_OK_AND_ASSIGN(
            scores, influence->InfluencesFromFactors(factors, train_));
        EXPECT_THAT(scores, TensorNear(expected, 1e-10));
      }
    }
  }
}

TEST_F(LowRankInfluenceTest, IsIndependentOfTheBatchSize) {
  for (const bool arnoldi : {false, true}) {
    const auto make = [&] {
      return arnoldi ? MakeArnoldi(BlockStructure::kFull, Options(3, 0.1))
                     : MakeNystroem(BlockStructure::kFull, Options(3, 0.1));
    };
    const auto whole = make();
    INFLUENCE_ASSERT_OK(whole->Fit(Data(20)));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                   whole->Influences(test_, train_));
    for (const int64_t batch_size : {1, 7}) {
      const auto parts = make();
      INFLUENCE_ASSERT_OK(parts->Fit(Data(batch_size)));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                     parts->Influences(test_, train_));
      EXPECT_THAT(scores, TensorNear(expected, 1e-8));
    }
  }
}

TEST_F(LowRankInfluenceTest, AnotherRegularizationSharesTheEigenpairs) {
  const auto influence = MakeNystroem(BlockStructure::kLayer, Options(4, 0.1));
  EXPECT_THAT(
      influence->WithRegularization(Constant(1)),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("Fit()")));
  INFLUENCE_ASSERT_OK(influence->Fit(Data()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto other,
                                 influence->WithRegularization(Constant(0.7)));
  const auto fresh = MakeNystroem(BlockStructure::kLayer, Options(4, 0.7));
  INFLUENCE_ASSERT_OK(fresh->Fit(Data()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                 fresh->Influences(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                 other->Influences(test_, train_));
  EXPECT_THAT(scores, TensorNear(expected, 1e-12));
  const auto* low_rank = dynamic_cast<const LowRankInfluence*>(other.get());
  ASSERT_NE(low_rank, nullptr);
  EXPECT_EQ(low_rank->eigenpairs()[0].u.data_ptr(),
            influence->eigenpairs()[0].u.data_ptr());
  EXPECT_EQ(other->num_fitted_samples(), 20);
  EXPECT_THAT(influence->WithRegularization(Constant(0)),
              StatusIs(kInvalid, AllOf(HasSubstr("block 0"),
                                       HasSubstr("--regularization"))));
  EXPECT_THAT(
      influence->WithRegularization(Regularization::Auto()),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("auto")));
}

TEST_F(LowRankInfluenceTest, AutoIsATenthOfTheMeanSquaredGradient) {
  LowRankInfluenceOptions options = Options(4, 1);
  options.regularization = Regularization::Auto();
  const auto influence = MakeNystroem(BlockStructure::kFull, options);
  INFLUENCE_ASSERT_OK(influence->Fit(Data()));
  const double expected =
      0.1 *
      DenseGaussNewton(*provider_, train_).diagonal().mean().item<double>();
  EXPECT_NEAR(*influence->report()[0].regularization, expected,
              1e-12 * expected);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto other,
                                 influence->WithRegularization(Constant(1)));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      other, other->WithRegularization(Regularization::Auto()));
  EXPECT_EQ(other->report()[0].regularization,
            influence->report()[0].regularization);
}

TEST_F(LowRankInfluenceTest, ARankAboveABlockIsClampedAndReported) {
  const auto influence = MakeNystroem(BlockStructure::kLayer, Options(30, 0.1));
  EXPECT_THAT(influence->eigenvalues(), IsEmpty());
  INFLUENCE_ASSERT_OK(influence->Fit(Data()));
  EXPECT_EQ(influence->eigenvalues()[0].size(0), 30);
  EXPECT_EQ(influence->eigenvalues()[1].size(0), 18);
  EXPECT_THAT(influence->report()[0].remarks, IsEmpty());
  EXPECT_THAT(influence->report()[1].remarks,
              ElementsAre("rank: found 30 above the block's size 18; used 18"));
}

TEST_F(LowRankInfluenceTest, ReportsNegativeEigenvalues) {
  LowRankInfluenceOptions options = Options(82, 1e-3);
  options.curvature = Curvature::kHessian;
  const auto influence = MakeArnoldi(BlockStructure::kFull, options);
  INFLUENCE_ASSERT_OK(influence->Fit(Data()));
  const BlockReport report = influence->report()[0];
  ASSERT_TRUE(report.smallest_eigenvalue.has_value());
  EXPECT_NEAR(*report.smallest_eigenvalue,
              influence->eigenvalues()[0].min().item<double>() + 1e-3, 1e-12);
  ASSERT_EQ(report.remarks.size(), 1);
  EXPECT_THAT(report.remarks[0],
              HasSubstr("of 82 eigenvalues are negative, the smallest -"));
}

TEST_F(LowRankInfluenceTest, ADeadUnitNeedsARegularization) {
  const at::Tensor w = ParameterLike(SeededNormal({1, 3}, at::kDouble, 1));
  const at::Tensor dead = ParameterLike(SeededNormal({30}, at::kDouble, 2));
  const auto model = std::make_shared<const FunctionModel>(
      std::vector<NamedParameter>{{"live.w", w}, {"dead.w", dead}},
      [w](const std::vector<at::Tensor>& x) { return x[0].matmul(w.t()); });
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::shared_ptr<const GradientProvider> provider,
      AutogradGradientProvider::Create(model, MeanSquaredErrorLoss()));
  const Batch batch = {{SeededNormal({9, 3}, at::kDouble, 3)},
                       SeededNormal({9, 1}, at::kDouble, 4)};
  const auto data = std::make_shared<const TensorBatchSequence>(
      *TensorBatchSequence::Create(batch, 9));
  LowRankInfluenceOptions options = Options(1, 0);
  options.low_rank_inverse = LowRankForm::kProjected;
  const ParameterBlocks blocks =
      ParameterBlocks::Create(*model, BlockStructure::kLayer);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto arnoldi, ArnoldiInfluence::Create(provider, blocks, options));
  EXPECT_THAT(arnoldi->Fit(data),
              StatusIs(kInvalid, AllOf(HasSubstr("block dead"),
                                       HasSubstr("--regularization"))));
  EXPECT_FALSE(arnoldi->is_fitted());
  options = Options(1, 0.5);
  for (const bool is_arnoldi : {false, true}) {
    std::unique_ptr<LowRankInfluence> influence;
    if (is_arnoldi) {
      influence = *ArnoldiInfluence::Create(provider, blocks, options);
    } else {
      influence = *NystroemInfluence::Create(provider, blocks, options);
    }
    INFLUENCE_ASSERT_OK(influence->Fit(data));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                   influence->Influences(batch, batch));
    EXPECT_TRUE(scores.isfinite().all().item<bool>());
  }
}

TEST_F(LowRankInfluenceTest, IsRestoredFromItsState) {
  LowRankInfluenceOptions options = Options(4, 1);
  options.regularization = Regularization::Auto();
  options.seed = ~uint64_t{0};
  const auto influence = MakeNystroem(BlockStructure::kLayer, options);
  EXPECT_THAT(influence->ExportState(),
              StatusIs(absl::StatusCode::kFailedPrecondition, testing::_));
  INFLUENCE_ASSERT_OK(influence->Fit(Data()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedState state,
                                 influence->ExportState());
  EXPECT_EQ(state.method, "nystroem");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto restored,
                                 NystroemInfluence::Restore(provider_, state));
  EXPECT_EQ(restored->num_fitted_samples(), 20);
  EXPECT_EQ(restored->curvature(), Curvature::kGeneralizedGaussNewton);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                 influence->Influences(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                 restored->Influences(test_, train_));
  EXPECT_TRUE(scores.equal(expected));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto other,
                                 restored->WithRegularization(Constant(0.7)));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      other, other->WithRegularization(Regularization::Auto()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(scores, other->Influences(test_, train_));
  EXPECT_TRUE(scores.equal(expected));
}

TEST_F(LowRankInfluenceTest, RefusesAStateThatDoesNotFit) {
  const auto influence = MakeNystroem(BlockStructure::kLayer, Options(4, 0.1));
  INFLUENCE_ASSERT_OK(influence->Fit(Data()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedState state,
                                 influence->ExportState());
  EXPECT_THAT(ArnoldiInfluence::Restore(provider_, state),
              StatusIs(kInvalid, HasSubstr("found method nystroem")));
  FittedState bad = state;
  bad.options["rank"] = "many";
  EXPECT_THAT(NystroemInfluence::Restore(provider_, bad),
              StatusIs(kInvalid, HasSubstr("rank")));
  bad = state;
  bad.options["seed"] = "-1";
  EXPECT_THAT(NystroemInfluence::Restore(provider_, bad),
              StatusIs(kInvalid, HasSubstr("seed: found '-1'")));
  bad = state;
  bad.arrays[0].values = bad.arrays[0].values.narrow(1, 0, 3);
  EXPECT_THAT(NystroemInfluence::Restore(provider_, bad),
              StatusIs(kInvalid, HasSubstr("0/eigenvectors: found shape")));
  bad = state;
  bad.arrays.pop_back();
  EXPECT_THAT(NystroemInfluence::Restore(provider_, bad),
              StatusIs(kInvalid, HasSubstr("no array 2/eigenvalues")));
  bad = state;
  bad.regularization.clear();
  EXPECT_THAT(NystroemInfluence::Restore(provider_, bad),
              StatusIs(kInvalid, HasSubstr("found 0 regularizations")));
}

TEST_F(LowRankInfluenceTest, RefusesBadArguments) {
  const ParameterBlocks blocks = Blocks(BlockStructure::kFull);
  EXPECT_THAT(ArnoldiInfluence::Create(nullptr, blocks, Options(3, 0.1)),
              StatusIs(kInvalid, HasSubstr("provider: is null")));
  for (const int64_t rank : {0, 83}) {
    EXPECT_THAT(
        NystroemInfluence::Create(provider_, blocks, Options(rank, 0.1)),
        StatusIs(kInvalid, HasSubstr(absl::StrCat("rank: found ", rank,
                                                  ", expected 1 to 82"))));
  }
  EXPECT_THAT(ArnoldiInfluence::Create(provider_, blocks, Options(3, 0)),
              StatusIs(kInvalid, AllOf(HasSubstr("regularization: found 0"),
                                       HasSubstr("--regularization"))));
  LowRankInfluenceOptions options = Options(3, 0.1);
  options.num_threads = -1;
  EXPECT_THAT(ArnoldiInfluence::Create(provider_, blocks, options),
              StatusIs(kInvalid, HasSubstr("num_threads: found -1")));
}

}  // namespace
}  // namespace influence
