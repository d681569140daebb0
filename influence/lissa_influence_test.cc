// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/lissa_influence.h"

#include <cstddef>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/linalg_solve.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
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
#include "operators/solve_report.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

Regularization Constant(double value) {
  return *Regularization::Constant(value);
}

class LissaInfluenceTest : public testing::Test {
 protected:
  void SetUp() override {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        provider_,
        CapturingGradientProvider::Create(model_, CrossEntropyLoss(), train_));
  }

  ParameterBlocks Blocks(BlockStructure structure) const {
    return ParameterBlocks::Create(*model_, structure);
  }

  std::shared_ptr<const BatchSequence> Data(int64_t batch_size) const {
    return std::make_shared<const TensorBatchSequence>(
        *TensorBatchSequence::Create(train_, batch_size));
  }

  static LissaInfluenceOptions Options(double regularization = 0.2) {
    LissaInfluenceOptions options;
    options.regularization = Constant(regularization);
    options.relative_tolerance = 1e-11;
    return options;
  }

  std::unique_ptr<LissaInfluence> MakeFitted(
      BlockStructure structure, const LissaInfluenceOptions& options,
      int64_t batch_size = 9) const {
    auto lissa = *LissaInfluence::Create(provider_, Blocks(structure), options);
    EXPECT_THAT(lissa->Fit(Data(batch_size)), IsOk());
    return lissa;
  }

  // Scores by dense solves with (C + shift_b I) of each block.
  at::Tensor Expected(const at::Tensor& dense, const ParameterBlocks& blocks,
                      const std::vector<double>& shifts) const {
    const at::Tensor left = *provider_->FlatGrads(test_);
    const at::Tensor right = *provider_->FlatGrads(train_);
    at::Tensor scores = at::zeros({test_.size(), train_.size()}, at::kDouble);
    for (size_t b = 0; b < shifts.size(); ++b) {
      const ParameterBlock& block = blocks.blocks()[b];
      const auto cut = [&](const at::Tensor& t) {
        return t.narrow(-1, block.offset, block.size);
      };
      const at::Tensor a =
          cut(dense.narrow(0, block.offset, block.size))
              .add(at::eye(block.size, at::kDouble), shifts[b]);
      scores.add_(at::linalg_solve(a, cut(left).t(), /*left=*/true)
                      .t()
                      .matmul(cut(right).t()));
    }
    return scores;
  }

  std::shared_ptr<const Model> model_ = TanhMlp({3, 4, 2}, at::kDouble, 1);
  std::shared_ptr<const GradientProvider> provider_;
  Batch test_ = SeededClassification(5, 3, 2, at::kDouble, 7);
  Batch train_ = SeededClassification(9, 3, 2, at::kDouble, 8);
};

TEST_F(LissaInfluenceTest, FullBatchesReachTheFixedPointBlockByBlock) {
  const at::Tensor dense = DenseGeneralizedGaussNewton(*provider_, train_);
  for (const CurvatureProducts kind :
       {CurvatureProducts::kFormed, CurvatureProducts::kMatrixFree}) {
    for (const double dampen : {0.0, 0.01}) {
      const bool formed = kind == CurvatureProducts::kFormed;
      SCOPED_TRACE(absl::StrCat("formed ", formed, " dampen ", dampen));
      LissaInfluenceOptions options = Options(0.5);
      options.products.kind = kind;
      options.dampen = dampen;
      const BlockStructure structure =
          formed ? BlockStructure::kFull : BlockStructure::kLayer;
      const auto lissa = MakeFitted(structure, options);
      std::vector<double> shifts;
      for (const double scale : lissa->scales()) {
        shifts.push_back(0.5 + dampen * scale);
      }
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                     lissa->Influences(test_, train_));
      EXPECT_THAT(scores,
                  TensorNear(Expected(dense, Blocks(structure), shifts), 1e-9));
    }
  }
}

TEST_F(LissaInfluenceTest, FormedAndMatrixFreeTakeTheSameSteps) {
  LissaInfluenceOptions options = Options();
  options.curvature = Curvature::kGaussNewton;
  options.max_iterations = 7;
  options.seed = 3;
  options.products.kind = CurvatureProducts::kFormed;
  const auto formed = MakeFitted(BlockStructure::kLayer, options, 2);
  EXPECT_THAT(formed->formed(), ElementsAre(true, true));
  options.products.kind = CurvatureProducts::kMatrixFree;
  const auto matrix_free = MakeFitted(BlockStructure::kLayer, options, 2);
  EXPECT_THAT(matrix_free->formed(), ElementsAre(false, false));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                 formed->Influences(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                 matrix_free->Influences(test_, train_));
  EXPECT_THAT(scores, TensorNear(expected, 1e-10));
  // Another order of the batches is another result.
  options.seed = 4;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(scores,
                                 MakeFitted(BlockStructure::kLayer, options, 2)
                                     ->Influences(test_, train_));
  EXPECT_GT(scores.sub(expected).abs().max().item<double>(),
            1e-6 * expected.abs().max().item<double>());
}

TEST_F(LissaInfluenceTest, ScaleTooSmallIsSaidAloud) {
  LissaInfluenceOptions options = Options();
  const double good = MakeFitted(BlockStructure::kFull, options)->scales()[0];
  options.scale = 0.4 * good;
  const auto lissa = MakeFitted(BlockStructure::kFull, options);
  EXPECT_THAT(lissa->report()[0].remarks,
              ElementsAre(HasSubstr(absl::StrCat("scale ", *options.scale))));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto prepared, lissa->PrepareQueries(test_));
  const std::vector<BlockSolveReports> reports = prepared->solve_reports();
  ASSERT_EQ(reports.size(), 1);
  ASSERT_EQ(reports[0].reports.size(), 5);
  size_t restarts = 0;
  for (const SolveReport& report : reports[0].reports) {
    EXPECT_EQ(report.outcome, SolveOutcome::kConverged);
    if (!report.remark.empty()) ++restarts;
  }
  EXPECT_GT(restarts, 0);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                 prepared->Influences(train_));
  EXPECT_THAT(
      scores,
      TensorNear(Expected(DenseGeneralizedGaussNewton(*provider_, train_),
                          Blocks(BlockStructure::kFull), {0.2}),
                 1e-9));
  // No answer is NaN, said aloud.
  options.scale = 1e-3 * good;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      prepared,
      MakeFitted(BlockStructure::kFull, options)->PrepareQueries(test_));
  EXPECT_EQ(prepared->solve_reports()[0].reports[0].outcome,
            SolveOutcome::kDiverged);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(scores, prepared->Influences(train_));
  EXPECT_TRUE(scores[0].isnan().all().item<bool>());
}

TEST_F(LissaInfluenceTest, AnotherRegularizationEqualsAFreshFit) {
  LissaInfluenceOptions options = Options(0.3);
  const auto lissa = MakeFitted(BlockStructure::kLayer, options);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto other,
                                 lissa->WithRegularization(Constant(0.7)));
  options.regularization = Constant(0.7);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor expected,
      MakeFitted(BlockStructure::kLayer, options)->Influences(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                 other->Influences(test_, train_));
  EXPECT_TRUE(scores.equal(expected));
  EXPECT_EQ(other->report()[0].regularization, 0.7);
  EXPECT_THAT(
      lissa->WithRegularization(Regularization::Auto()),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("auto")));
}

TEST_F(LissaInfluenceTest, ARestoredModelGivesTheSameBits) {
  for (const CurvatureProducts kind :
       {CurvatureProducts::kFormed, CurvatureProducts::kMatrixFree}) {
    LissaInfluenceOptions options;
    options.curvature = Curvature::kGaussNewton;
    options.regularization = Regularization::Auto();
    options.max_iterations = 11;
    options.dampen = 0.02;
    options.seed = 18'000'000'000'000'000'000u;
    options.products.kind = kind;
    const auto lissa = MakeFitted(BlockStructure::kLayer, options, 4);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(FittedState state, lissa->ExportState());
    EXPECT_EQ(state.method, "lissa");
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        auto restored, LissaInfluence::Restore(provider_, state, Data(4)));
    EXPECT_EQ(restored->scales(), lissa->scales());
    EXPECT_EQ(restored->formed(), lissa->formed());
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                   lissa->Influences(test_, train_));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                   restored->Influences(test_, train_));
    EXPECT_TRUE(scores.equal(expected));
    if (kind == CurvatureProducts::kFormed) {
      INFLUENCE_EXPECT_OK(LissaInfluence::Restore(provider_, state));
    } else {
      EXPECT_THAT(LissaInfluence::Restore(provider_, state),
                  StatusIs(kInvalid, HasSubstr("data: is null")));
      EXPECT_THAT(LissaInfluence::Restore(provider_, state, Data(3)),
                  StatusIs(kInvalid, HasSubstr("in the same sizes")));
    }
  }
}

TEST_F(LissaInfluenceTest, RefusesBadArguments) {
  const ParameterBlocks blocks = Blocks(BlockStructure::kLayer);
  EXPECT_THAT(LissaInfluence::Create(nullptr, blocks),
              StatusIs(kInvalid, HasSubstr("provider")));
  LissaInfluenceOptions options;
  options.scale = -1;
  EXPECT_THAT(LissaInfluence::Create(provider_, blocks, options),
              StatusIs(kInvalid, HasSubstr("scale: found -1")));
  options = {};
  options.dampen = 1.5;
  EXPECT_THAT(LissaInfluence::Create(provider_, blocks, options),
              StatusIs(kInvalid, HasSubstr("dampen: found 1.5")));
  options = {};
  options.max_iterations = 0;
  EXPECT_THAT(LissaInfluence::Create(provider_, blocks, options),
              StatusIs(kInvalid, HasSubstr("max_iterations: found 0")));
  options = {};
  options.relative_tolerance = 0;
  EXPECT_THAT(LissaInfluence::Create(provider_, blocks, options),
              StatusIs(kInvalid, HasSubstr("relative_tolerance")));
  options = {};
  options.regularization = *Regularization::ByBlock({{"nothing", 1}});
  EXPECT_THAT(LissaInfluence::Create(provider_, blocks, options),
              StatusIs(kInvalid, HasSubstr("nothing")));
  const auto unfitted = *LissaInfluence::Create(provider_, blocks, Options());
  EXPECT_TRUE(unfitted->report().empty());
  EXPECT_THAT(
      unfitted->Influences(test_, train_),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("Fit()")));
}

}  // namespace
}  // namespace influence
