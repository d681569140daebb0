// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/kronecker_inverse.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/einsum.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_term.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "gtest/gtest.h"
#include "operators/bilinear_form.h"
#include "operators/kronecker_curvature.h"
#include "operators/kronecker_testing.h"
#include "operators/operator_testing.h"
#include "operators/problem_testing.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

constexpr KroneckerLayout kLayouts[] = {
    KroneckerLayout::kLinear,
    KroneckerLayout::kTall,
    KroneckerLayout::kNoBias,
    KroneckerLayout::kInputMajor,
    KroneckerLayout::kGroups,
    KroneckerLayout::kFused,
    KroneckerLayout::kRest,
    KroneckerLayout::kDeficient,
    KroneckerLayout::kDeficientInputs,
    KroneckerLayout::kDeficientOutputs,
};

absl::StatusOr<std::shared_ptr<const KroneckerInverse>> Invert(
    const KroneckerProblem& problem, double regularization,
    double score_tolerance = 0) {
  KroneckerInverseOptions options;
  options.regularization = regularization;
  options.score_tolerance = score_tolerance;
  return KroneckerInverse::Create(problem.curvature, *problem.model,
                                  problem.block, options);
}

class KroneckerInverseLayoutTest
    : public testing::TestWithParam<KroneckerLayout> {};

INSTANTIATE_TEST_SUITE_P(Layouts, KroneckerInverseLayoutTest,
                         testing::ValuesIn(kLayouts));

TEST_P(KroneckerInverseLayoutTest, KeepsTheOperatorContract) {
  const KroneckerProblem problem =
      MakeKroneckerProblem(GetParam(), at::kDouble, 1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto inverse, Invert(problem, 0.05));
  OperatorContract contract;
  // Orthogonal transforms and a division: a few roundings.
  contract.relative_tolerance = 1e-13;
  ExpectOperatorContract(*inverse, DenseKroneckerInverse(problem, 0.05),
                         contract);
  // Operands of another dtype than the model's.
  contract.dtype = at::kFloat;
  contract.relative_tolerance = 3e-6;
  ExpectOperatorContract(*inverse, DenseKroneckerInverse(problem, 0.05),
                         contract);
}

TEST_P(KroneckerInverseLayoutTest, Float32ModelsKeepTheContract) {
  const KroneckerProblem problem =
      MakeKroneckerProblem(GetParam(), at::kFloat, 1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto inverse, Invert(problem, 0.05));
  OperatorContract contract;
  contract.dtype = at::kFloat;
  contract.relative_tolerance = 3e-6;
  ExpectOperatorContract(*inverse, DenseKroneckerInverse(problem, 0.05),
                         contract);
}

// Many queries are scored by rotated factors, few by factors rotated back; with
// positions all are contracted.
TEST_P(KroneckerInverseLayoutTest, ScoresEqualProductsWithTheDenseInverse) {
  const KroneckerProblem problem =
      MakeKroneckerProblem(GetParam(), at::kDouble, 2);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto inverse, Invert(problem, 0.05));
  const at::Tensor dense = DenseKroneckerInverse(problem, 0.05);
  const auto form = inverse->AsBilinearForm();
  for (const int64_t positions : {1, 3}) {
    for (const int64_t num_queries : {0, 1, 4, 3000}) {
      SCOPED_TRACE(
          absl::StrCat(positions, " positions, ", num_queries, " queries"));
      const FactoredGradients left =
          RandomGradients(problem, num_queries, positions, 100);
      const FactoredGradients right =
          RandomGradients(problem, 7, positions, 200);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor left_flat, left.Flatten());
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor right_flat, right.Flatten());
      INFLUENCE_ASSERT_OK_AND_ASSIGN(auto prepared, form->PrepareGrads(left));
      EXPECT_EQ(prepared->num_samples(), num_queries);
      EXPECT_EQ(prepared->num_parameters(), problem.block.size);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor transformed,
                                     prepared->TransformedGrads());
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                     prepared->GradsInnerProd(right));
      ASSERT_EQ(scores.sizes(), at::IntArrayRef({num_queries, 7}));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor rowwise,
                                     prepared->RowwiseInnerProd(left));
      ASSERT_EQ(rowwise.sizes(), at::IntArrayRef({num_queries}));
      if (num_queries == 0) continue;
      const at::Tensor expected = left_flat.matmul(dense);
      EXPECT_THAT(transformed, TensorNear(expected, 1e-12));
      EXPECT_THAT(scores, TensorNear(expected.matmul(right_flat.t()), 1e-12));
      EXPECT_THAT(rowwise, TensorNear(expected.mul(left_flat).sum(1), 1e-12));
    }
  }
}

TEST(KroneckerInverseTest, ScoresSamplesOfAnotherFormThanTheQueries) {
  const KroneckerProblem problem =
      MakeKroneckerProblem(KroneckerLayout::kRest, at::kDouble, 2);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto inverse, Invert(problem, 0.05));
  const at::Tensor dense = DenseKroneckerInverse(problem, 0.05);
  const FactoredGradients left = RandomGradients(problem, 3000, 1, 100);
  const FactoredGradients with_positions = RandomGradients(problem, 5, 3, 200);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor left_flat, left.Flatten());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor flat, with_positions.Flatten());
  // The same gradients, written out.
  std::vector<FactoredParameter> parameters = with_positions.parameters();
  int64_t offset = 0;
  for (FactoredParameter& parameter : parameters) {
    parameter.terms = {std::make_shared<DenseTerm>(
        0, flat.narrow(1, offset, parameter.size).contiguous())};
    offset += parameter.size;
  }
  const FactoredGradients written(5, at::kDouble, parameters);
  const at::Tensor expected = left_flat.matmul(dense).matmul(flat.t());
  const auto form = inverse->AsBilinearForm();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto prepared, form->PrepareGrads(left));
  EXPECT_THAT(*prepared->GradsInnerProd(with_positions),
              TensorNear(expected, 1e-12));
  EXPECT_THAT(*prepared->GradsInnerProd(written), TensorNear(expected, 1e-12));
  const FactoredGradients other = RandomGradients(problem, 3000, 2, 300);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor other_flat, other.Flatten());
  EXPECT_THAT(
      *prepared->RowwiseInnerProd(other),
      TensorNear(left_flat.matmul(dense).mul(other_flat).sum(1), 1e-12));
  // And the other way round.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto few, form->PrepareGrads(written));
  EXPECT_THAT(*few->GradsInnerProd(left), TensorNear(expected.t(), 1e-12));
}

TEST(KroneckerInverseTest, ABiasGradientThatIsNotTheOutputsIsNotAssumed) {
  // A bias with a use of its own: its gradient has a term more.
  const KroneckerProblem problem =
      MakeKroneckerProblem(KroneckerLayout::kLinear, at::kDouble, 2);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto inverse, Invert(problem, 0.05));
  const at::Tensor dense = DenseKroneckerInverse(problem, 0.05);
  const FactoredGradients plain = RandomGradients(problem, 3000, 1, 100);
  std::vector<FactoredParameter> parameters = plain.parameters();
  parameters[1].terms.push_back(
      std::make_shared<DenseTerm>(0, SeededNormal({3000, 3}, at::kDouble, 9)));
  const FactoredGradients more(3000, at::kDouble, parameters);
  parameters[1].terms.erase(parameters[1].terms.begin());
  const FactoredGradients other(3000, at::kDouble, parameters);
  const FactoredGradients right = RandomGradients(problem, 4, 1, 200);
  const auto form = inverse->AsBilinearForm();
  for (const FactoredGradients* left : {&more, &other}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor left_flat, left->Flatten());
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor right_flat, right.Flatten());
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                   form->GradsInnerProd(*left, right));
    EXPECT_THAT(
        scores,
        TensorNear(left_flat.matmul(dense).matmul(right_flat.t()), 1e-12));
  }
}

TEST(KroneckerInverseTest, ATransposedEigenvectorMatrixIsAnotherOperator) {
  const KroneckerProblem problem =
      MakeKroneckerProblem(KroneckerLayout::kLinear, at::kDouble, 1);
  const at::Tensor dense = DenseKroneckerInverse(problem, 0.05);
  for (const bool input_side : {true, false}) {
    auto transposed = std::make_shared<KroneckerCurvature>(*problem.curvature);
    KroneckerFactors& factors = transposed->layers[0];
    at::Tensor& vectors =
        input_side ? factors.input_eigenvectors : factors.gradient_eigenvectors;
    vectors = vectors.t().contiguous();
    KroneckerProblem wrong = problem;
    wrong.curvature = transposed;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(auto inverse, Invert(wrong, 0.05));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        at::Tensor applied,
        inverse->Apply(at::eye(problem.block.size, at::kDouble)));
    EXPECT_GT(applied.sub(dense).abs().max().item<double>(),
              0.1 * dense.abs().max().item<double>());
  }
}

// One layer large enough for a split to pay; ranks of its eigenvectors, all
// where 0.
KroneckerProblem LargeProblem(at::ScalarType dtype, double decay = 2,
                              int64_t gradient_rank = 0,
                              int64_t input_rank = 0) {
  KroneckerProblem problem;
  const std::vector<NamedParameter> parameters = {
      {"layer.weight", ParameterLike(at::zeros({60, 99}, dtype))},
      {"layer.bias", ParameterLike(at::zeros({60}, dtype))}};
  problem.model = std::make_shared<const FunctionModel>(
      parameters, [](const std::vector<at::Tensor>& x) { return x[0]; });
  KroneckerCurvature curvature;
  KroneckerFactors factors{};
  factors.layer = "layer";
  factors.weight = 0;
  factors.bias = 1;
  curvature.layers = {
      WithRandomFactors(factors, 60, 100, 3, decay, gradient_rank, input_rank)};
  problem.curvature = std::make_shared<const KroneckerCurvature>(curvature);
  problem.block = ParameterBlocks::Create(*problem.model, BlockStructure::kFull)
                      .blocks()[0];
  return problem;
}

constexpr double kSplitRegularization = 0.1;
constexpr double kTolerances[] = {1e-4, 1e-3, 1e-2, 0.1};

// (C + lambda I)^-1 of the rows of `flat`, the weight's [60, 99] and the bias's
// [60], from the definition.
at::Tensor SolvedByDefinition(const KroneckerProblem& problem,
                              const at::Tensor& flat, double regularization) {
  const KroneckerFactors& factors = problem.curvature->layers[0];
  const at::Tensor& ug = factors.gradient_eigenvectors;
  const at::Tensor& ua = factors.input_eigenvectors;
  const at::Tensor v =
      at::cat({flat.narrow(1, 0, 60 * 99).reshape({-1, 60, 99}),
               flat.narrow(1, 60 * 99, 60).unsqueeze(2)},
              2);
  const at::Tensor w = ug.t().matmul(v).matmul(ua);
  const at::Tensor in_span =
      ug.matmul(w.div(factors.eigenvalues.add(regularization))).matmul(ua.t());
  const at::Tensor beside =
      v.sub(ug.matmul(w).matmul(ua.t())).div(regularization);
  const at::Tensor x = in_span.add(beside);
  return at::cat({x.narrow(2, 0, 99).reshape({-1, 60 * 99}), x.select(2, 99)},
                 1);
}

// What the eigenvectors leave over is never contracted, and exact.
TEST(KroneckerInverseSplitTest, FewerEigenvectorsAreExactWithAndWithoutASplit) {
  for (const auto& [q, r] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 30}, {25, 0}, {25, 30}}) {
    const KroneckerProblem problem = LargeProblem(at::kDouble, 2, q, r);
    const int64_t core = (q > 0 ? q : 60) * (r > 0 ? r : 100);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(auto exact,
                                   Invert(problem, kSplitRegularization));
    EXPECT_NEAR(exact->contracted_share(),
                static_cast<double>(core) / (60 * 100), 1e-12);
    for (const int64_t num_queries : {2, 40}) {
      SCOPED_TRACE(absl::StrCat(q, " and ", r, ", ", num_queries, " queries"));
      const FactoredGradients left =
          RandomGradients(problem, num_queries, 1, 100);
      const FactoredGradients right = RandomGradients(problem, 30, 1, 200);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor left_flat, left.Flatten());
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor right_flat, right.Flatten());
      const at::Tensor expected =
          SolvedByDefinition(problem, left_flat, kSplitRegularization);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          at::Tensor scores,
          exact->AsBilinearForm()->GradsInnerProd(left, right));
      EXPECT_THAT(scores, TensorNear(expected.matmul(right_flat.t()), 1e-12));
      const double tolerance = 1e-2;
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          auto split, Invert(problem, kSplitRegularization, tolerance));
      EXPECT_LE(split->contracted_share(), exact->contracted_share());
      const auto form = split->AsBilinearForm();
      INFLUENCE_ASSERT_OK_AND_ASSIGN(scores, form->GradsInnerProd(left, right));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(auto prepared, form->PrepareGrads(left));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor transformed,
                                     prepared->TransformedGrads());
      EXPECT_THAT(transformed, TensorNear(expected, 1e-12));
      const at::Tensor own_left = expected.mul(left_flat).sum(1);
      const at::Tensor own_right =
          SolvedByDefinition(problem, right_flat, kSplitRegularization)
              .mul(right_flat)
              .sum(1);
      // t sqrt(B(i, i) B(j, j)), and B <= A^-1 / (1 - t).
      const at::Tensor bound = own_left.unsqueeze(1)
                                   .mul(own_right.unsqueeze(0))
                                   .sqrt()
                                   .mul(tolerance / (1 - tolerance));
      EXPECT_TRUE(scores.sub(expected.matmul(right_flat.t()))
                      .abs()
                      .le(bound.add(1e-12))
                      .all()
                      .item<bool>());
    }
  }
}

// Lambda is a million times lambda: where the part beside the eigenvectors were
// a difference, 6 % of such scores would be its rounding.
TEST(KroneckerInverseTest, WhatIsLeftOverDoesNotCancel) {
  const KroneckerProblem problem = LargeProblem(at::kFloat, /*decay=*/0, 0, 30);
  const at::Tensor& u = problem.curvature->layers[0].input_eigenvectors;
  constexpr double kLambda = 1e-6;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto inverse, Invert(problem, kLambda));
  // Inputs within the span of the eigenvectors, whose last entry is a 1.
  const auto in_span = [&](uint64_t seed) {
    const at::Tensor g = SeededNormal({8, 60}, at::kDouble, seed);
    at::Tensor a = SeededNormal({8, 30}, at::kDouble, seed + 1).matmul(u.t());
    a = a.div(a.select(1, 99).unsqueeze(1));
    return std::make_pair(g, a);
  };
  const auto gradients = [](const std::pair<at::Tensor, at::Tensor>& sides) {
    const at::Tensor g = sides.first.to(at::kFloat).view({8, 1, 1, 60});
    const at::Tensor a =
        sides.second.narrow(1, 0, 99).to(at::kFloat).reshape({8, 1, 1, 99});
    return FactoredGradients(
        8, at::kFloat,
        {{"layer.weight",
          60 * 99,
          {std::make_shared<OuterProductTerm>(0, g, a)}},
         {"layer.bias",
          60,
          {std::make_shared<DenseTerm>(0, g.view({8, 60}))}}});
  };
  const auto left = in_span(10), right = in_span(20);
  const KroneckerFactors& factors = problem.curvature->layers[0];
  const at::Tensor& v = factors.gradient_eigenvectors;
  const at::Tensor expected = at::einsum(
      "mk,ml,nk,nl,kl->mn",
      {left.first.matmul(v), left.second.matmul(u), right.first.matmul(v),
       right.second.matmul(u), factors.eigenvalues.add(kLambda).reciprocal()});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                 inverse->AsBilinearForm()->GradsInnerProd(
                                     gradients(left), gradients(right)));
  const double largest = expected.abs().max().item<double>();
  EXPECT_LT(scores.to(at::kDouble).sub(expected).abs().max().item<double>(),
            1e-4 * largest);
}

TEST(KroneckerInverseSplitTest, ErrorOfScoresStaysWithinTheTolerance) {
  const KroneckerProblem problem = LargeProblem(at::kDouble);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto exact,
                                 Invert(problem, kSplitRegularization));
  EXPECT_EQ(exact->contracted_share(), 1);
  // Both ways to score: few queries and many.
  for (const int64_t num_queries : {2, 40}) {
    const FactoredGradients left =
        RandomGradients(problem, num_queries, 1, 100);
    const FactoredGradients right = RandomGradients(problem, 30, 1, 200);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor left_flat, left.Flatten());
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor right_flat, right.Flatten());
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor factors, exact->Apply(left_flat));
    const at::Tensor expected = factors.matmul(right_flat.t());
    double last_share = 1;
    // Rounding.
    double last_error = 1e-12 * expected.abs().max().item<double>();
    for (const double tolerance : kTolerances) {
      SCOPED_TRACE(absl::StrCat(num_queries, " queries, ", tolerance));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          auto split, Invert(problem, kSplitRegularization, tolerance));
      EXPECT_LT(split->contracted_share(), last_share);
      last_share = split->contracted_share();
      const auto form = split->AsBilinearForm();
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                     form->GradsInnerProd(left, right));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor of_left,
                                     form->GradsInnerProd(left, left));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor of_right,
                                     form->GradsInnerProd(right, right));
      const at::Tensor bound = of_left.diagonal()
                                   .unsqueeze(1)
                                   .mul(of_right.diagonal().unsqueeze(0))
                                   .sqrt()
                                   .mul(tolerance);
      const at::Tensor error = scores.sub(expected).abs();
      EXPECT_TRUE(error.le(bound).all().item<bool>());
      // The split is there, and not closer than it has to be.
      EXPECT_GT(error.max().item<double>(), last_error);
      EXPECT_GT(error.max().item<double>(), 1e-4 * bound.max().item<double>());
      last_error = error.max().item<double>();

      INFLUENCE_ASSERT_OK_AND_ASSIGN(auto prepared, form->PrepareGrads(left));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor self,
                                     prepared->RowwiseInnerProd(left));
      EXPECT_THAT(self, TensorNear(of_left.diagonal(), 1e-12));

      // What is not scores of one position is exact.
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor transformed,
                                     prepared->TransformedGrads());
      EXPECT_THAT(transformed, TensorNear(factors, 1e-12));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor applied,
                                     split->Apply(left_flat));
      EXPECT_THAT(applied, TensorNear(factors, 1e-12));
    }
    EXPECT_LT(last_share, 0.15);
  }
}

TEST(KroneckerInverseSplitTest, ScoresDependOnNoBatchSizeAndNoThreadCount) {
  const KroneckerProblem problem = LargeProblem(at::kDouble);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto split,
                                 Invert(problem, kSplitRegularization, 1e-2));
  const FactoredGradients left = RandomGradients(problem, 40, 1, 100);
  const FactoredGradients right = RandomGradients(problem, 30, 1, 200);
  const auto form = split->AsBilinearForm();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                 form->GradsInnerProd(left, right));
  // One by one: too few queries for rotated factors.
  const auto rows = [](const FactoredGradients& grads, int64_t row) {
    std::vector<FactoredParameter> parameters = grads.parameters();
    const auto& product =
        dynamic_cast<const OuterProductTerm&>(*parameters[0].terms[0]);
    const auto& dense = dynamic_cast<const DenseTerm&>(*parameters[1].terms[0]);
    parameters[0].terms = {
        std::make_shared<OuterProductTerm>(0, product.left().narrow(0, row, 1),
                                           product.right().narrow(0, row, 1))};
    parameters[1].terms = {
        std::make_shared<DenseTerm>(0, dense.gradients().narrow(0, row, 1))};
    return FactoredGradients(1, grads.dtype(), std::move(parameters));
  };
  for (const int64_t query : {0, 39}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(auto prepared,
                                   form->PrepareGrads(rows(left, query)));
    for (const int64_t sample : {0, 29}) {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          at::Tensor score, prepared->GradsInnerProd(rows(right, sample)));
      EXPECT_THAT(score[0][0],
                  TensorNearAtScale(expected[query][sample], 1e-12,
                                    expected.abs().max().item<double>()));
    }
  }
  const int threads = at::get_num_threads();
  at::set_num_threads(threads == 1 ? 2 : 1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor other,
                                 form->GradsInnerProd(left, right));
  at::set_num_threads(threads);
  EXPECT_THAT(other, TensorNear(expected, 1e-12));
}

TEST(KroneckerInverseSplitTest, WithPositionsScoresAreExact) {
  const KroneckerProblem problem = LargeProblem(at::kDouble);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto exact,
                                 Invert(problem, kSplitRegularization));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto split,
                                 Invert(problem, kSplitRegularization, 0.1));
  const FactoredGradients left = RandomGradients(problem, 40, 2, 100);
  const FactoredGradients right = RandomGradients(problem, 30, 2, 200);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor expected,
      exact->AsBilinearForm()->GradsInnerProd(left, right));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor scores, split->AsBilinearForm()->GradsInnerProd(left, right));
  EXPECT_THAT(scores, TensorNear(expected, 1e-13));
}

TEST(KroneckerInverseSplitTest, EigenvaluesBelowTheRoundingUnitAreSplitOff) {
  // Most of Lambda is nothing beside lambda = 1000 in float32.
  const KroneckerProblem problem = LargeProblem(at::kFloat);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto split, Invert(problem, 1000));
  EXPECT_LT(split->contracted_share(), 0.9);
  const FactoredGradients left = RandomGradients(problem, 40, 1, 100);
  const FactoredGradients right = RandomGradients(problem, 30, 1, 200);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor left_flat, left.Flatten());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor right_flat, right.Flatten());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor factors,
                                 split->Apply(left_flat.to(at::kDouble)));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor scores, split->AsBilinearForm()->GradsInnerProd(left, right));
  EXPECT_THAT(scores.to(at::kDouble),
              TensorNear(factors.matmul(right_flat.to(at::kDouble).t()), 3e-6));
}

TEST(KroneckerInverseTest, AnotherRegularizationSharesTheFit) {
  const KroneckerProblem problem =
      MakeKroneckerProblem(KroneckerLayout::kRest, at::kDouble, 1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto first, Invert(problem, 0.05));
  KroneckerInverseOptions options = first->options();
  options.regularization = 0.7;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto second, first->WithOptions(options));
  EXPECT_EQ(second->options().regularization, 0.7);
  EXPECT_EQ(first->options().regularization, 0.05);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor applied,
      second->Apply(at::eye(problem.block.size, at::kDouble)));
  EXPECT_THAT(applied, TensorNear(DenseKroneckerInverse(problem, 0.7), 1e-13));
  EXPECT_EQ(second->num_factored(), 15);
  EXPECT_EQ(second->num_diagonal(), 5);
  EXPECT_EQ(second->num_dropped(), 2);
}

TEST(KroneckerInverseTest, SingularCurvatureIsAnErrorThatNamesRegularization) {
  KroneckerProblem problem =
      MakeKroneckerProblem(KroneckerLayout::kRest, at::kDouble, 1);
  INFLUENCE_EXPECT_OK(Invert(problem, 0));
  auto singular = std::make_shared<KroneckerCurvature>(*problem.curvature);
  singular->layers[0].eigenvalues = singular->layers[0].eigenvalues.clone();
  singular->layers[0].eigenvalues[2][1] = 0.0;
  KroneckerProblem wrong = problem;
  wrong.curvature = singular;
  EXPECT_THAT(
      Invert(wrong, 0),
      StatusIs(kInvalid, AllOf(HasSubstr("regularization: found 0"),
                               HasSubstr("layer layer"), HasSubstr("singular"),
                               HasSubstr("--regularization"))));
  // Not zero, but nothing beside the largest.
  singular->layers[0].eigenvalues[2][1] = 1e-18;
  EXPECT_THAT(Invert(wrong, 0), StatusIs(kInvalid, HasSubstr("singular")));
  // 1 / 1e-60 is infinite in float32.
  singular->layers[0].eigenvalues[2][1] = 0.0;
  EXPECT_THAT(Invert(wrong, 1e-60),
              StatusIs(kInvalid, HasSubstr("found 1e-60")));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto inverse, Invert(wrong, 1e-20));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor applied,
      inverse->Apply(at::eye(problem.block.size, at::kFloat)));
  EXPECT_TRUE(applied.isfinite().all().item<bool>());

  auto dead = std::make_shared<KroneckerCurvature>(*problem.curvature);
  dead->diagonals[0].diagonal = at::zeros({5}, at::kDouble);
  wrong.curvature = dead;
  EXPECT_THAT(Invert(wrong, 0),
              StatusIs(kInvalid, AllOf(HasSubstr("parameter layer.scale"),
                                       HasSubstr("--regularization"))));
  INFLUENCE_EXPECT_OK(Invert(wrong, 1e-3));
}

TEST(KroneckerInverseTest, RefusesBadOptions) {
  const KroneckerProblem problem =
      MakeKroneckerProblem(KroneckerLayout::kLinear, at::kDouble, 1);
  EXPECT_THAT(Invert(problem, -1),
              StatusIs(kInvalid, HasSubstr("regularization: found -1")));
  EXPECT_THAT(Invert(problem, std::numeric_limits<double>::infinity()),
              StatusIs(kInvalid, HasSubstr("regularization")));
  EXPECT_THAT(Invert(problem, 0.1, 1),
              StatusIs(kInvalid, HasSubstr("score_tolerance: found 1")));
  EXPECT_THAT(Invert(problem, 0.1, -0.5),
              StatusIs(kInvalid, HasSubstr("score_tolerance: found -0.5")));
  EXPECT_THAT(
      KroneckerInverse::Create(nullptr, *problem.model, problem.block, {0.1}),
      StatusIs(kInvalid, HasSubstr("curvature: is null")));
}

TEST(KroneckerInverseTest, RefusesACurvatureThatDoesNotCoverTheBlockOnce) {
  const KroneckerProblem problem =
      MakeKroneckerProblem(KroneckerLayout::kFused, at::kDouble, 1);
  const auto with = [&](const auto& change) {
    auto changed = std::make_shared<KroneckerCurvature>(*problem.curvature);
    change(*changed);
    KroneckerProblem other = problem;
    other.curvature = changed;
    return Invert(other, 0.1).status();
  };
  EXPECT_THAT(with([](KroneckerCurvature& c) { c.layers.pop_back(); }),
              StatusIs(kInvalid, AllOf(HasSubstr("parameter layer.weight"),
                                       HasSubstr("24 scalars"))));
  EXPECT_THAT(
      with([](KroneckerCurvature& c) { c.layers.push_back(c.layers[0]); }),
      StatusIs(kInvalid, HasSubstr("by 4 parts")));
  EXPECT_THAT(with([](KroneckerCurvature& c) { c.dropped.push_back(1); }),
              StatusIs(kInvalid, HasSubstr("parameter layer.bias")));
  EXPECT_THAT(with([](KroneckerCurvature& c) {
                c.layers[1].input_eigenvectors = at::eye(4, at::kDouble);
              }),
              StatusIs(kInvalid, AllOf(HasSubstr("input eigenvectors"),
                                       HasSubstr("[4, 4]"))));
  EXPECT_THAT(with([](KroneckerCurvature& c) {
                c.layers[1].gradient_eigenvectors =
                    c.layers[1].gradient_eigenvectors.to(at::kFloat);
              }),
              StatusIs(kInvalid, HasSubstr("float32")));
  EXPECT_THAT(with([](KroneckerCurvature& c) {
                c.layers[1].eigenvalues = c.layers[1].eigenvalues.neg();
              }),
              StatusIs(kInvalid, HasSubstr("expected values >= 0")));
  // The bias in another block.
  KroneckerProblem split = problem;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      ParameterBlocks blocks, ParameterBlocks::CreateCustom(
                                  *problem.model, {{"one", {"layer.weight"}}}));
  split.block = blocks.blocks()[0];
  EXPECT_THAT(Invert(split, 0.1),
              StatusIs(kInvalid, HasSubstr("without its bias")));
}

TEST(KroneckerInverseTest, RefusesGradientsOfAnotherDtype) {
  const KroneckerProblem problem =
      MakeKroneckerProblem(KroneckerLayout::kLinear, at::kDouble, 1);
  const KroneckerProblem other =
      MakeKroneckerProblem(KroneckerLayout::kLinear, at::kFloat, 1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto inverse, Invert(problem, 0.1));
  EXPECT_THAT(
      inverse->AsBilinearForm()->GradsInnerProd(
          RandomGradients(problem, 3, 1, 1), RandomGradients(other, 3, 1, 1)),
      StatusIs(kInvalid, AllOf(HasSubstr("float32"), HasSubstr("float64"))));
}

}  // namespace
}  // namespace influence
