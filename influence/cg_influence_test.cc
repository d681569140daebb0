// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/cg_influence.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/linalg_eigvalsh.h"
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

class CgInfluenceTest : public testing::Test {
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

  static CgInfluenceOptions Options(double regularization = 0.2) {
    CgInfluenceOptions options;
    options.regularization = Constant(regularization);
    options.relative_tolerance = 1e-12;
    return options;
  }

  std::unique_ptr<CgInfluence> MakeFitted(BlockStructure structure,
                                          const CgInfluenceOptions& options,
                                          int64_t batch_size = 4) const {
    auto cg = *CgInfluence::Create(provider_, Blocks(structure), options);
    EXPECT_THAT(cg->Fit(Data(batch_size)), IsOk());
    return cg;
  }

  at::Tensor Dense(Curvature curvature) const {
    switch (curvature) {
      case Curvature::kHessian:
        return HessianByDifferences(*provider_, train_);
      case Curvature::kGaussNewton:
        return DenseGaussNewton(*provider_, train_);
      case Curvature::kGeneralizedGaussNewton:
        return DenseGeneralizedGaussNewton(*provider_, train_);
    }
    return {};
  }

  // Scores by dense solves with the diagonal blocks of `dense`.
  at::Tensor Expected(const at::Tensor& dense, const ParameterBlocks& blocks,
                      double regularization) const {
    const at::Tensor left = *provider_->FlatGrads(test_);
    const at::Tensor right = *provider_->FlatGrads(train_);
    at::Tensor scores = at::zeros({test_.size(), train_.size()}, at::kDouble);
    for (const ParameterBlock& block : blocks.blocks()) {
      const auto cut = [&](const at::Tensor& t) {
        return t.narrow(-1, block.offset, block.size);
      };
      const at::Tensor a =
          cut(dense.narrow(0, block.offset, block.size))
              .add(at::eye(block.size, at::kDouble), regularization);
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

TEST_F(CgInfluenceTest, EqualsADenseSolveForEveryKindOfProducts) {
  for (const Curvature curvature :
       {Curvature::kHessian, Curvature::kGaussNewton,
        Curvature::kGeneralizedGaussNewton}) {
    const at::Tensor dense = Dense(curvature);
    // Makes the Hessian positive definite too.
    const double lambda =
        0.5 - std::min(0.0, at::linalg_eigvalsh(dense).min().item<double>());
    for (const BlockStructure structure :
         {BlockStructure::kFull, BlockStructure::kLayer,
          BlockStructure::kParameter}) {
      const at::Tensor expected = Expected(dense, Blocks(structure), lambda);
      for (const CurvatureProducts kind :
           {CurvatureProducts::kFormed, CurvatureProducts::kMatrixFree}) {
        // One structure is enough for the slower kind.
        if (kind == CurvatureProducts::kMatrixFree &&
            structure != BlockStructure::kLayer) {
          continue;
        }
        for (const bool block : {true, false}) {
          SCOPED_TRACE(absl::StrCat(CurvatureName(curvature), " ",
                                    BlockStructureName(structure), " formed ",
                                    kind == CurvatureProducts::kFormed,
                                    " block ", block));
          CgInfluenceOptions options = Options(lambda);
          options.curvature = curvature;
          options.products.kind = kind;
          options.block = block;
          const auto cg = MakeFitted(structure, options);
          INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                         cg->Influences(test_, train_));
          EXPECT_THAT(scores, TensorNear(expected, 1e-8));
        }
      }
    }
  }
}

TEST_F(CgInfluenceTest, APreconditionerChangesTheWayOnly) {
  const at::Tensor expected =
      Expected(Dense(Curvature::kGeneralizedGaussNewton),
               Blocks(BlockStructure::kLayer), 0.5);
  for (const CurvatureProducts kind :
       {CurvatureProducts::kFormed, CurvatureProducts::kMatrixFree}) {
    for (const CgPreconditioner preconditioner :
         {CgPreconditioner::kJacobi, CgPreconditioner::kNystroem}) {
      SCOPED_TRACE(CgPreconditionerName(preconditioner));
      CgInfluenceOptions options = Options(0.5);
      options.products.kind = kind;
      options.preconditioner = preconditioner;
      options.rank = 6;
      const auto cg = MakeFitted(BlockStructure::kLayer, options);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                     cg->Influences(test_, train_));
      EXPECT_THAT(scores, TensorNear(expected, 1e-8));
    }
  }
}

TEST_F(CgInfluenceTest, IsIndependentOfBatchSizeAndThreads) {
  for (const CurvatureProducts kind :
       {CurvatureProducts::kFormed, CurvatureProducts::kMatrixFree}) {
    CgInfluenceOptions options = Options();
    options.products.kind = kind;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        at::Tensor expected, MakeFitted(BlockStructure::kLayer, options, 9)
                                 ->Influences(test_, train_));
    for (const int64_t batch_size : {1, 2, 4}) {
      SCOPED_TRACE(absl::StrCat("batches of ", batch_size));
      options.products.num_threads = 1 + static_cast<int>(batch_size % 2);
      const auto cg = MakeFitted(BlockStructure::kLayer, options, batch_size);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                     cg->Influences(test_, train_));
      EXPECT_THAT(scores, TensorNear(expected, 1e-10));
    }
  }
}

TEST_F(CgInfluenceTest, FormsByDefaultWhereThatSavesProducts) {
  CgInfluenceOptions options = Options();
  EXPECT_THAT(MakeFitted(BlockStructure::kLayer, options)->formed(),
              ElementsAre(true, true));
  // Blocks of 16 and 10 parameters, six products a query.
  options.max_iterations = 6;
  options.products.expected_queries = 2;
  EXPECT_THAT(MakeFitted(BlockStructure::kLayer, options)->formed(),
              ElementsAre(false, true));
}

TEST_F(CgInfluenceTest, ReportsEveryQueryOfEveryBlock) {
  for (const CurvatureProducts kind :
       {CurvatureProducts::kFormed, CurvatureProducts::kMatrixFree}) {
    CgInfluenceOptions options = Options();
    options.products.kind = kind;
    options.relative_tolerance = 1e-6;
    const auto cg = MakeFitted(BlockStructure::kLayer, options);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(auto prepared, cg->PrepareQueries(test_));
    const std::vector<BlockSolveReports> reports = prepared->solve_reports();
    ASSERT_EQ(reports.size(), 2);
    EXPECT_EQ(reports[0].block, "0");
    EXPECT_EQ(reports[1].block, "2");
    for (const BlockSolveReports& of_block : reports) {
      ASSERT_EQ(of_block.reports.size(), 5);
      for (const SolveReport& report : of_block.reports) {
        EXPECT_EQ(report.outcome, SolveOutcome::kConverged);
        EXPECT_GE(report.iterations, 1);
        EXPECT_LE(report.relative_residual, 1e-6);
      }
    }
  }
}

// The loss of an untrained model is not convex in its parameters.
TEST_F(CgInfluenceTest, AnIndefiniteHessianIsReportedByQuery) {
  const at::Tensor hessian = Dense(Curvature::kHessian);
  ASSERT_LT(at::linalg_eigvalsh(hessian).min().item<double>(), -0.01);
  CgInfluenceOptions options = Options(1e-3);
  options.curvature = Curvature::kHessian;
  const auto cg = MakeFitted(BlockStructure::kFull, options);
  std::vector<BlockSolveReports> reports;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      TensorMap factors, cg->InfluenceFactorsWithReports(test_, &reports));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor x, factors.Find("full"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor grads, provider_->FlatGrads(test_));
  const at::Tensor residual = grads.sub(x.matmul(hessian)).sub(x, 1e-3);
  ASSERT_EQ(reports.size(), 1);
  bool any = false;
  for (int64_t k = 0; k < 5; ++k) {
    const SolveReport& report = reports[0].reports[k];
    any = any || report.outcome == SolveOutcome::kNegativeCurvature;
    EXPECT_NEAR(
        report.relative_residual,
        residual[k].norm().item<double>() / grads[k].norm().item<double>(),
        1e-6);
  }
  EXPECT_TRUE(any);
  EXPECT_TRUE(x.isfinite().all().item<bool>());
}

TEST_F(CgInfluenceTest, AnotherRegularizationEqualsAFreshFit) {
  for (const CurvatureProducts kind :
       {CurvatureProducts::kFormed, CurvatureProducts::kMatrixFree}) {
    CgInfluenceOptions options = Options(0.1);
    options.products.kind = kind;
    options.preconditioner = CgPreconditioner::kJacobi;
    const auto cg = MakeFitted(BlockStructure::kLayer, options);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(auto other,
                                   cg->WithRegularization(Constant(0.7)));
    options.regularization = Constant(0.7);
    const auto fresh = MakeFitted(BlockStructure::kLayer, options);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                   fresh->Influences(test_, train_));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                   other->Influences(test_, train_));
    EXPECT_THAT(scores, TensorNear(expected, 1e-13));
    EXPECT_EQ(other->num_fitted_samples(), 9);
    EXPECT_EQ(other->report()[1].regularization, 0.7);
    EXPECT_THAT(
        cg->WithRegularization(Regularization::Auto()),
        StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("auto")));
  }
}

TEST_F(CgInfluenceTest, AutoIsATenthOfTheMeanSquaredGradient) {
  CgInfluenceOptions options = Options();
  options.regularization = Regularization::Auto();
  const auto cg = MakeFitted(BlockStructure::kLayer, options);
  const at::Tensor diagonal = DenseGaussNewton(*provider_, train_).diagonal();
  for (size_t b = 0; b < 2; ++b) {
    const ParameterBlock& block = cg->blocks().blocks()[b];
    const double expected =
        0.1 *
        diagonal.narrow(0, block.offset, block.size).mean().item<double>();
    EXPECT_NEAR(*cg->report()[b].regularization, expected, 1e-13 * expected);
  }
}

TEST_F(CgInfluenceTest, ARestoredModelGivesTheSameBits) {
  for (const CurvatureProducts kind :
       {CurvatureProducts::kFormed, CurvatureProducts::kMatrixFree}) {
    CgInfluenceOptions options;
    options.curvature = Curvature::kGaussNewton;
    options.regularization = Regularization::Auto();
    options.relative_tolerance = 1e-7;
    options.max_iterations = 17;
    options.block = false;
    options.preconditioner = CgPreconditioner::kJacobi;
    options.products.kind = kind;
    const auto cg = MakeFitted(BlockStructure::kLayer, options);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(FittedState state, cg->ExportState());
    EXPECT_EQ(state.method, "cg");
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        auto restored, CgInfluence::Restore(provider_, state, Data()));
    EXPECT_EQ(restored->formed(), cg->formed());
    EXPECT_EQ(restored->num_fitted_samples(), 9);
    EXPECT_EQ(restored->options().max_iterations, 17);
    EXPECT_FALSE(restored->options().block);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                   cg->Influences(test_, train_));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                   restored->Influences(test_, train_));
    EXPECT_TRUE(scores.equal(expected));
    // What the fit found from the gradients is there too.
    INFLUENCE_ASSERT_OK_AND_ASSIGN(auto other,
                                   restored->WithRegularization(Constant(2)));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        auto back, other->WithRegularization(Regularization::Auto()));
    EXPECT_EQ(back->report()[0].regularization, cg->report()[0].regularization);
  }
}

TEST_F(CgInfluenceTest, ARestoredNystroemPreconditionerGivesTheSameBits) {
  for (const CurvatureProducts kind :
       {CurvatureProducts::kFormed, CurvatureProducts::kMatrixFree}) {
    CgInfluenceOptions options = Options();
    options.preconditioner = CgPreconditioner::kNystroem;
    options.rank = 12;  // Of blocks of 16 and 10.
    options.seed = 5;
    options.products.kind = kind;
    const auto cg = MakeFitted(BlockStructure::kLayer, options);
    EXPECT_TRUE(cg->report()[0].remarks.empty());
    EXPECT_THAT(cg->report()[1].remarks,
                ElementsAre(HasSubstr("found 12 above the block's size 10")));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(FittedState state, cg->ExportState());
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        auto restored, CgInfluence::Restore(provider_, state, Data()));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                   cg->Influences(test_, train_));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                   restored->Influences(test_, train_));
    EXPECT_TRUE(scores.equal(expected));
  }
}

TEST_F(CgInfluenceTest, ANystroemPreconditionerNeedsASemidefiniteCurvature) {
  CgInfluenceOptions options = Options();
  options.curvature = Curvature::kHessian;
  options.preconditioner = CgPreconditioner::kNystroem;
  options.rank = 20;
  const auto cg =
      *CgInfluence::Create(provider_, Blocks(BlockStructure::kFull), options);
  EXPECT_THAT(cg->Fit(Data()),
              StatusIs(kInvalid, AllOf(HasSubstr("block full"),
                                       HasSubstr("second order"))));
  EXPECT_FALSE(cg->is_fitted());
}

TEST_F(CgInfluenceTest, NeedsTheDataToRestoreWhatReadsIt) {
  CgInfluenceOptions options = Options();
  options.products.kind = CurvatureProducts::kMatrixFree;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      FittedState state,
      MakeFitted(BlockStructure::kLayer, options)->ExportState());
  EXPECT_THAT(CgInfluence::Restore(provider_, state),
              StatusIs(kInvalid, HasSubstr("data: is null")));
  const auto fewer = std::make_shared<const TensorBatchSequence>(
      *TensorBatchSequence::Create(test_, 5));
  EXPECT_THAT(
      CgInfluence::Restore(provider_, state, fewer),
      StatusIs(kInvalid, AllOf(HasSubstr("found 5 samples"), HasSubstr("9"))));
  state.method = "direct";
  EXPECT_THAT(CgInfluence::Restore(provider_, state, Data()),
              StatusIs(kInvalid, HasSubstr("direct")));
  EXPECT_THAT(CgInfluence::Restore(nullptr, state, Data()),
              StatusIs(kInvalid, HasSubstr("provider")));
  options.products.kind = CurvatureProducts::kFormed;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      state, MakeFitted(BlockStructure::kLayer, options)->ExportState());
  INFLUENCE_EXPECT_OK(CgInfluence::Restore(provider_, state));
  state.arrays.pop_back();
  EXPECT_THAT(CgInfluence::Restore(provider_, state),
              StatusIs(kInvalid, HasSubstr("2/curvature")));
}

TEST_F(CgInfluenceTest, PreconditionersHaveNames) {
  for (const CgPreconditioner preconditioner :
       {CgPreconditioner::kNone, CgPreconditioner::kJacobi,
        CgPreconditioner::kNystroem}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const CgPreconditioner parsed,
        ParseCgPreconditioner(CgPreconditionerName(preconditioner)));
    EXPECT_EQ(parsed, preconditioner);
  }
  EXPECT_THAT(ParseCgPreconditioner("ilu"),
              StatusIs(kInvalid, AllOf(HasSubstr("ilu"), HasSubstr("jacobi"))));
}

TEST_F(CgInfluenceTest, RefusesBadArguments) {
  const ParameterBlocks blocks = Blocks(BlockStructure::kLayer);
  EXPECT_THAT(CgInfluence::Create(nullptr, blocks),
              StatusIs(kInvalid, HasSubstr("provider")));
  CgInfluenceOptions options;
  options.relative_tolerance = 0;
  EXPECT_THAT(CgInfluence::Create(provider_, blocks, options),
              StatusIs(kInvalid, HasSubstr("relative_tolerance: found 0")));
  options = {};
  options.max_iterations = 0;
  EXPECT_THAT(CgInfluence::Create(provider_, blocks, options),
              StatusIs(kInvalid, HasSubstr("max_iterations: found 0")));
  options = {};
  options.preconditioner = CgPreconditioner::kNystroem;
  options.rank = 27;
  EXPECT_THAT(CgInfluence::Create(provider_, blocks, options),
              StatusIs(kInvalid, HasSubstr("rank: found 27")));
  options = {};
  options.products.expected_queries = 0;
  EXPECT_THAT(CgInfluence::Create(provider_, blocks, options),
              StatusIs(kInvalid, HasSubstr("expected_queries")));
  options = {};
  options.regularization = *Regularization::ByBlock({{"nothing", 1}});
  EXPECT_THAT(CgInfluence::Create(provider_, blocks, options),
              StatusIs(kInvalid, HasSubstr("nothing")));
  const auto unfitted = *CgInfluence::Create(provider_, blocks, Options());
  EXPECT_TRUE(unfitted->report().empty());
  EXPECT_THAT(
      unfitted->Influences(test_, train_),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("Fit()")));
  EXPECT_THAT(
      unfitted->WithRegularization(Constant(1)),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("Fit()")));
}

}  // namespace
}  // namespace influence
