// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What every method of influence/ has to fulfil, on every block structure and
// curvature that it supports: one suite for all.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/einsum.h"
#include "ATen/ops/linalg_eigvalsh.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "base/thread_team.h"
#include "gmock/gmock.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gradients/tensor_map.h"
#include "gtest/gtest.h"
#include "influence/composable_influence.h"
#include "influence/fitted_state.h"
#include "influence/influence_mode.h"
#include "influence/prepared_queries.h"
#include "influence/regularization.h"
#include "influence/restore_influence.h"
#include "operators/curvature.h"
#include "operators/operator.h"
#include "operators/operator_testing.h"
#include "tests/support/influence_method.h"
#include "tests/support/method_definition.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// Makes every A positive definite with a condition number below 10 (checked
// below).
constexpr double kRegularization = 1.5;
constexpr double kOtherRegularization = 2.5;

// Results that are the same but for rounding. Iterative methods stop at 1e-12.
constexpr double kRounding = 1e-10;

struct Conformance {
  InfluenceMethod method;
  double tolerance = 1e-8;  // Against the dense matrix of the definition.
};

void PrintTo(const Conformance& conformance, std::ostream* out) {
  *out << conformance.method.Name();
}

// Once a process: the dense Hessian takes 70 gradients.
const ClassifierProblem& Problem() {
  static const auto* problem = new ClassifierProblem(at::kDouble);
  return *problem;
}

class MethodConformanceTest : public testing::TestWithParam<Conformance> {
 protected:
  void SetUp() override {
    at::set_num_threads(1);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        provider_, CapturingGradientProvider::Create(
                       Problem().model(), CrossEntropyLoss(), train_));
  }

  static const InfluenceMethod& method() { return GetParam().method; }
  static double tolerance() { return GetParam().tolerance; }

  static Regularization Constant(double value) {
    return *Regularization::Constant(value);
  }

  std::shared_ptr<const BatchSequence> Data(int64_t batch_size = 9) const {
    return std::make_shared<const TensorBatchSequence>(
        *TensorBatchSequence::Create(train_, batch_size));
  }

  absl::StatusOr<std::unique_ptr<ComposableInfluence>> Fitted(
      const InfluenceMethod& of,
      const std::shared_ptr<const BatchSequence>& data) const {
    INFLUENCE_ASSIGN_OR_RETURN(std::unique_ptr<ComposableInfluence> influence,
                               CreateInfluence(of, provider_));
    INFLUENCE_RETURN_IF_ERROR(influence->Fit(data));
    return influence;
  }

  static InfluenceMethod With(double regularization) {
    InfluenceMethod result = method();
    result.regularization = Constant(regularization);
    return result;
  }

  absl::StatusOr<std::unique_ptr<ComposableInfluence>> Fitted() const {
    return Fitted(With(kRegularization), Data());
  }

  static at::Tensor Dense() {
    return DenseDefinition(method(), Problem(), kRegularization);
  }

  at::Tensor TestGrads() const {
    return *Problem().reference().FlatGrads(test_);
  }

  std::shared_ptr<const GradientProvider> provider_;
  Batch train_ = Problem().train();
  Batch test_ = Problem().test();
};

// Ranks that share the training data, in batches that they divide unevenly:
// the numbers of a process alone, fitted and restored, for every rank.
TEST_P(MethodConformanceTest, RanksGiveTheNumbersOfOneProcess) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto alone, Fitted(With(kRegularization), Data(/*batch_size=*/4)));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                                 alone->Influences(test_, train_));
  const double rounding = kRounding * expected.abs().max().item<double>();
  for (const int size : {2, 3}) {
    SCOPED_TRACE(size);
    INFLUENCE_ASSERT_OK(FirstError(
        RunThreadTeam(size, [&](Communicator& communicator) -> absl::Status {
          InfluenceMethod together = With(kRegularization);
          together.communicator = std::shared_ptr<Communicator>(
              std::shared_ptr<void>(), &communicator);
          INFLUENCE_ASSIGN_OR_RETURN(const auto influence,
                                     Fitted(together, Data(/*batch_size=*/4)));
          EXPECT_NE(influence->solves_together(), influence->is_thread_safe());
          EXPECT_EQ(influence->num_fitted_samples(),
                    alone->num_fitted_samples());
          INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor scores,
                                     influence->Influences(test_, train_));
          EXPECT_THAT(scores, TensorNear(expected, rounding));

          INFLUENCE_ASSIGN_OR_RETURN(const FittedState state,
                                     influence->ExportState());
          INFLUENCE_ASSIGN_OR_RETURN(
              const auto restored,
              RestoreInfluence(state, provider_, Data(/*batch_size=*/4),
                               std::nullopt, together.communicator));
          EXPECT_EQ(restored->solves_together(), influence->solves_together());
          INFLUENCE_ASSIGN_OR_RETURN(const auto queries,
                                     restored->PrepareQueries(test_));
          // Not collective any more: each rank as often as it likes.
          for (int i = 0; i <= communicator.rank(); ++i) {
            INFLUENCE_ASSIGN_OR_RETURN(
                const at::Tensor again,
                queries->Influences(train_, InfluenceMode::kUp, /*input=*/0));
            EXPECT_THAT(again, TensorNear(expected, rounding));
          }
          return absl::OkStatus();
        })));
  }
}

// Linear, symmetric, equal to the dense matrix column by column, wrong shapes
// refused.
TEST_P(MethodConformanceTest, OperatorsEqualTheDenseMatrixOfTheirDefinition) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence, Fitted());
  const at::Tensor dense = Dense();
  const std::vector<std::shared_ptr<const Operator>> operators =
      influence->operators();
  const std::vector<ParameterBlock>& blocks = influence->blocks().blocks();
  ASSERT_EQ(operators.size(), blocks.size());
  OperatorContract contract;
  contract.relative_tolerance = tolerance();
  for (size_t b = 0; b < blocks.size(); ++b) {
    SCOPED_TRACE(blocks[b].name);
    ExpectOperatorContract(*operators[b],
                           dense.narrow(0, blocks[b].offset, blocks[b].size)
                               .narrow(1, blocks[b].offset, blocks[b].size),
                           contract);
  }
}

TEST_P(MethodConformanceTest, UpAndPerturbationAreThoseOfTheDenseMatrix) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence, Fitted());
  const at::Tensor expected = TestGrads().matmul(Dense());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor factors,
                                 influence->InfluenceFactors(test_));
  EXPECT_THAT(factors, TensorNear(expected, tolerance()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor train_grads,
                                 Problem().reference().FlatGrads(train_));
  const auto up = TensorNear(expected.matmul(train_grads.t()), tolerance());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                 influence->Influences(test_, train_));
  EXPECT_THAT(scores, up);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto prepared,
                                 influence->PrepareQueries(test_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(scores, prepared->Influences(train_));
  EXPECT_THAT(scores, up);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor mixed,
                                 Problem().reference().FlatMixedGrads(train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      scores,
      influence->Influences(test_, train_, InfluenceMode::kPerturbation));
  EXPECT_THAT(scores, TensorNear(at::einsum("mp,nxp->mnx", {expected, mixed}),
                                 tolerance()));
}

TEST_P(MethodConformanceTest, AQueryFunctionIsOfTheQuerySideAlone) {
  InfluenceMethod of = With(kRegularization);
  of.query_function = LogitFunction();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence, Fitted(of, Data()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor left,
      Problem().reference().WithFunction(LogitFunction())->FlatGrads(test_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor right,
                                 Problem().reference().FlatGrads(train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                 influence->Influences(test_, train_));
  EXPECT_THAT(scores,
              TensorNear(left.matmul(Dense()).matmul(right.t()), tolerance()));
}

TEST_P(MethodConformanceTest, IsTheSameForAnyBatchSizeAndNumberOfThreads) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto whole, Fitted());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                 whole->Influences(test_, train_));
  const double scale = expected.abs().max().item<double>();
  // Queries one by one and a part of the training samples.
  for (int64_t i = 0; i < test_.size(); ++i) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch one,
                                   SliceBatch(test_, i, i + 1));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch part, SliceBatch(train_, i, 9));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                   whole->Influences(one, part));
    EXPECT_THAT(scores,
                TensorNearAtScale(expected.narrow(0, i, 1).narrow(1, i, 9 - i),
                                  kRounding, scale));
  }
  const std::pair<int, int64_t> threads_and_batches[] = {
      {1, 1}, {2, 3}, {4, 9}};
  for (const auto& [threads, batch_size] : threads_and_batches) {
    // LiSSA depends on its batches by definition.
    if (method().method == "lissa" && batch_size < 9) continue;
    SCOPED_TRACE(absl::StrCat(threads, " threads, batches of ", batch_size));
    at::set_num_threads(threads);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const auto influence, Fitted(With(kRegularization), Data(batch_size)));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                   influence->Influences(test_, train_));
    EXPECT_THAT(scores, TensorNear(expected, kRounding));
  }
  at::set_num_threads(1);
}

TEST_P(MethodConformanceTest, BlocksSumToTheWhole) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence, Fitted());
  for (const InfluenceMode mode :
       {InfluenceMode::kUp, InfluenceMode::kPerturbation}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                   influence->Influences(test_, train_, mode));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const TensorMap by_block,
        influence->InfluencesByBlock(test_, train_, mode));
    ASSERT_EQ(by_block.size(), influence->blocks().blocks().size());
    at::Tensor sum = at::zeros(expected.sizes(), at::kDouble);
    for (const auto& [name, scores] : by_block) sum.add_(scores);
    EXPECT_THAT(sum, TensorNear(expected, kRounding));
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor factors,
                                 influence->InfluenceFactors(test_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const TensorMap by_block,
                                 influence->InfluenceFactorsByBlock(test_));
  std::vector<at::Tensor> parts;
  for (const auto& [name, part] : by_block) parts.push_back(part);
  EXPECT_THAT(at::cat(parts, 1), TensorNear(factors, kRounding));
}

TEST_P(MethodConformanceTest, InfluencesFromFactorsEqualDirectInfluences) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence, Fitted());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor factors,
                                 influence->InfluenceFactors(test_));
  for (const InfluenceMode mode :
       {InfluenceMode::kUp, InfluenceMode::kPerturbation}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                   influence->Influences(test_, train_, mode));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        at::Tensor scores,
        influence->InfluencesFromFactors(factors, train_, mode));
    EXPECT_THAT(scores, TensorNear(expected, kRounding));
  }
}

TEST_P(MethodConformanceTest, WrongShapesAreRefusedAndNamed) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence, Fitted());
  EXPECT_THAT(
      influence->InfluencesFromFactors(at::zeros({2, 34}, at::kDouble), train_),
      StatusIs(kInvalid, AllOf(HasSubstr("34"), HasSubstr("35"))));
  Batch bad = test_;
  bad.y = bad.y.narrow(0, 0, 3);
  for (const auto& status : {influence->InfluenceFactors(bad).status(),
                             influence->Influences(bad, train_).status(),
                             influence->Influences(train_, bad).status(),
                             influence->PrepareQueries(bad).status()}) {
    EXPECT_THAT(status, StatusIs(kInvalid, AllOf(HasSubstr("y"), HasSubstr("3"),
                                                 HasSubstr("4"))));
  }
  EXPECT_THAT(influence->Influences(test_, train_, InfluenceMode::kPerturbation,
                                    /*input=*/1),
              StatusIs(kInvalid, HasSubstr("input: found 1")));
}

TEST_P(MethodConformanceTest, NeedsAFit) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto influence, CreateInfluence(With(kRegularization), provider_));
  if (influence->is_fitted()) {
    EXPECT_EQ(method().method, "identity");
    return;
  }
  constexpr auto kState = absl::StatusCode::kFailedPrecondition;
  EXPECT_THAT(influence->Influences(test_, train_),
              StatusIs(kState, HasSubstr("Fit()")));
  EXPECT_THAT(influence->ExportState(), StatusIs(kState, HasSubstr("Fit()")));
  EXPECT_THAT(influence->WithRegularization(Constant(1)),
              StatusIs(kState, HasSubstr("Fit()")));
  EXPECT_TRUE(influence->report().empty());
}

TEST_P(MethodConformanceTest, ReportsItsBlocksAndSamples) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence, Fitted());
  EXPECT_TRUE(influence->is_fitted());
  EXPECT_EQ(influence->num_parameters(), 35);
  EXPECT_EQ(influence->num_fitted_samples(), 9);
  const std::vector<BlockReport> report = influence->report();
  const std::vector<ParameterBlock>& blocks = influence->blocks().blocks();
  ASSERT_EQ(report.size(), blocks.size());
  for (size_t b = 0; b < blocks.size(); ++b) {
    EXPECT_EQ(report[b].block, blocks[b].name);
    EXPECT_EQ(report[b].size, blocks[b].size);
    if (method().has_regularization()) {
      EXPECT_EQ(report[b].regularization, kRegularization);
    } else {
      EXPECT_FALSE(report[b].regularization.has_value());
    }
  }
}

TEST_P(MethodConformanceTest, ARestoredModelGivesBitIdenticalScores) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence, Fitted());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedState state,
                                 influence->ExportState());
  EXPECT_EQ(state.method, method().method);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto restored,
                                 RestoreInfluence(state, provider_, Data()));
  EXPECT_EQ(restored->num_fitted_samples(), 9);
  for (const InfluenceMode mode :
       {InfluenceMode::kUp, InfluenceMode::kPerturbation}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                   influence->Influences(test_, train_, mode));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                   restored->Influences(test_, train_, mode));
    EXPECT_TRUE(scores.equal(expected));
  }
  // What was restored can be stored again.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedState again,
                                 restored->ExportState());
  EXPECT_EQ(again.options, state.options);
  EXPECT_EQ(again.regularization, state.regularization);
  ASSERT_EQ(again.arrays.size(), state.arrays.size());
  for (size_t i = 0; i < state.arrays.size(); ++i) {
    EXPECT_EQ(again.arrays[i].name, state.arrays[i].name);
    EXPECT_TRUE(again.arrays[i].values.equal(state.arrays[i].values));
  }
}

TEST_P(MethodConformanceTest, AnotherRegularizationEqualsAFreshFit) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence, Fitted());
  if (!method().has_regularization()) {
    EXPECT_THAT(influence->WithRegularization(Constant(kOtherRegularization)),
                StatusIs(kInvalid, HasSubstr("regularization")));
    return;
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor before,
                                 influence->Influences(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto other,
      influence->WithRegularization(Constant(kOtherRegularization)));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto fresh,
                                 Fitted(With(kOtherRegularization), Data()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                 fresh->Influences(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                 other->Influences(test_, train_));
  EXPECT_THAT(scores, TensorNear(expected, kRounding));
  EXPECT_THAT(scores, testing::Not(TensorNear(before, 1e-3)));
  EXPECT_EQ(other->num_fitted_samples(), 9);
  for (const BlockReport& block : other->report()) {
    EXPECT_EQ(block.regularization, kOtherRegularization);
  }
  // The first model is as it was.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(scores, influence->Influences(test_, train_));
  EXPECT_TRUE(scores.equal(before));
}

TEST_P(MethodConformanceTest, AutoIsATenthOfTheMeanSquaredGradientByBlock) {
  if (!method().has_regularization()) return;
  InfluenceMethod of = method();
  of.regularization = Regularization::Auto();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor grads,
                                 Problem().reference().FlatGrads(train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto unfitted,
                                 CreateInfluence(of, provider_));
  absl::Status fitted = unfitted->Fit(Data());
  // The Hessian may be indefinite with so little regularization, but is not
  // singular.
  INFLUENCE_ASSERT_OK(fitted);
  const std::vector<BlockReport> report = unfitted->report();
  const std::vector<ParameterBlock>& blocks = unfitted->blocks().blocks();
  ASSERT_EQ(report.size(), blocks.size());
  for (size_t b = 0; b < blocks.size(); ++b) {
    const double expected =
        0.1 * grads.narrow(1, blocks[b].offset, blocks[b].size)
                  .square()
                  .mean()
                  .item<double>();
    EXPECT_NEAR(report[b].regularization.value(), expected, 1e-12 * expected);
  }
}

TEST_P(MethodConformanceTest, Float32AgreesWithFloat64) {
  const ClassifierProblem single(at::kFloat);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      provider_, CapturingGradientProvider::Create(
                     single.model(), CrossEntropyLoss(), single.train()));
  train_ = single.train();
  InfluenceMethod of = With(kRegularization);
  of.relative_tolerance = 1e-6;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence, Fitted(of, Data()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor right, Problem().reference().FlatGrads(Problem().train()));
  const at::Tensor expected =
      TestGrads().matmul(Dense()).matmul(right.t()).to(at::kFloat);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor scores, influence->Influences(single.test(), single.train()));
  // About 100 roundings of 6e-8, and the condition number.
  EXPECT_THAT(scores, TensorNear(expected, 1e-4));
}

constexpr BlockStructure kStructures[] = {
    BlockStructure::kFull, BlockStructure::kLayer, BlockStructure::kParameter};
constexpr Curvature kCurvatures[] = {Curvature::kHessian,
                                     Curvature::kGaussNewton,
                                     Curvature::kGeneralizedGaussNewton};

std::vector<Conformance> All() {
  std::vector<Conformance> all;
  const auto add = [&all](const InfluenceMethod& method,
                          double tolerance = 1e-8) {
    all.push_back({method, tolerance});
  };
  for (const BlockStructure structure : kStructures) {
    InfluenceMethod method;
    method.structure = structure;
    method.method = "identity";
    add(method, 1e-12);
    method.method = "ihm";
    add(method);
    for (const Curvature curvature : kCurvatures) {
      method.curvature = curvature;
      method.rank = 0;
      method.low_rank_inverse = "exact";
      method.method = "direct";
      add(method);
      method.method = "cg";
      add(method);
      method.method = "lissa";
      add(method);
      if (structure == BlockStructure::kLayer) {
        method.forms_curvature = false;
        if (curvature == Curvature::kGeneralizedGaussNewton) add(method);
        method.method = "cg";
        add(method);
        method.forms_curvature = true;
      }
      method.method = "arnoldi";
      add(method, 1e-6);
      if (curvature == Curvature::kHessian) continue;  // Indefinite.
      method.method = "nystroem";
      add(method, 1e-6);
    }
    for (const std::string low_rank_inverse : {"exact", "projected"}) {
      method.low_rank_inverse = low_rank_inverse;
      method.method = "arnoldi";
      method.curvature = Curvature::kHessian;
      method.rank = 3;
      add(method);
      // As many as there are samples: the sketch is the whole matrix. In the
      // block of fc2 the ninth eigenvalue is so small that rounding turns its
      // eigenvector, which counts in full for the projected form.
      method.method = "nystroem";
      method.curvature = Curvature::kGaussNewton;
      method.rank = 9;
      if (low_rank_inverse == "exact" || structure != BlockStructure::kLayer) {
        add(method);
      }
    }
  }
  InfluenceMethod method;
  for (const std::string preconditioner : {"jacobi", "nystroem"}) {
    method.method = "cg";
    method.forms_curvature = false;
    method.preconditioner = preconditioner;
    add(method);
  }
  method.forms_curvature = true;
  for (const std::string name : {"kfac", "ekfac"}) {
    method.method = name;
    for (const std::string fisher : {"empirical", "exact", "sampled"}) {
      method.fisher = fisher;
      method.uncovered = "diagonal";
      add(method);
    }
    method.fisher = "empirical";
    method.uncovered = "drop";
    add(method);
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(
    Methods, MethodConformanceTest, testing::ValuesIn(All()),
    [](const testing::TestParamInfo<Conformance>& conformance) {
      return conformance.param.method.Name();
    });

// What the tolerances above count on.
TEST(MethodConformanceProblemTest, IsWellConditionedAndNotDegenerate) {
  for (const Curvature curvature : kCurvatures) {
    const at::Tensor values =
        at::linalg_eigvalsh(Problem().DenseCurvature(curvature));
    EXPECT_GT(values.min().item<double>(), -0.8 * kRegularization);
    EXPECT_LT(values.max().item<double>(), 5);
    EXPECT_GT(values.max().item<double>(), 0.2);
  }
  // The Hessian is indefinite.
  EXPECT_LT(at::linalg_eigvalsh(Problem().DenseCurvature(Curvature::kHessian))
                .min()
                .item<double>(),
            -1e-3);
}

}  // namespace
}  // namespace influence
