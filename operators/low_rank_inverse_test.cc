// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/low_rank_inverse.h"

#include <limits>
#include <memory>
#include <tuple>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/diag.h"
#include "ATen/ops/einsum.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/inverse.h"
#include "ATen/ops/linalg_qr.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/operator_testing.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kExact = LowRankForm::kExact;
constexpr auto kProjected = LowRankForm::kProjected;

LowRank Pairs(int64_t size, const std::vector<double>& eigenvalues,
              at::ScalarType dtype = at::kDouble) {
  const auto rank = static_cast<int64_t>(eigenvalues.size());
  return {std::get<0>(at::linalg_qr(SeededNormal({size, rank}, at::kDouble, 1)))
              .to(dtype),
          at::tensor(eigenvalues, at::kDouble)};
}

LowRankInverseOptions Options(double regularization, LowRankForm form) {
  LowRankInverseOptions options;
  options.regularization = regularization;
  options.form = form;
  return options;
}

// The stated formulas, dense.
at::Tensor DenseInverse(const LowRank& low_rank, double regularization,
                        LowRankForm form) {
  const at::Tensor u = low_rank.u.to(at::kDouble);
  if (form == kProjected) {
    return u.matmul(at::diag(low_rank.d.add(regularization).reciprocal()))
        .matmul(u.t());
  }
  return at::inverse(u.matmul(at::diag(low_rank.d))
                         .matmul(u.t())
                         .add(at::eye(u.size(0), at::kDouble), regularization));
}

TEST(LowRankInverseTest, KeepsTheOperatorContract) {
  for (const LowRankForm form : {kExact, kProjected}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      SCOPED_TRACE(absl::StrCat(LowRankFormName(form), " of ",
                                dtype == at::kFloat ? "float32" : "float64"));
      const LowRank pairs = Pairs(7, {3, -0.5, 0.1}, dtype);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          auto inverse, LowRankInverse::Create(pairs, Options(0.05, form)));
      for (const at::ScalarType operand : {at::kFloat, at::kDouble}) {
        OperatorContract contract;
        contract.dtype = operand;
        // Condition number 60 times a few roundings; float32 U is orthonormal
        // to 1e-7 only, which both sides of the exact form see differently.
        contract.relative_tolerance =
            dtype == at::kDouble && operand == at::kDouble ? 1e-13 : 1e-5;
        ExpectOperatorContract(*inverse, DenseInverse(pairs, 0.05, form),
                               contract);
      }
    }
  }
}

TEST(LowRankInverseTest, IsTheWholeInverseAtFullRank) {
  const LowRank pairs = Pairs(4, {3, 1, -0.5, 0.25});
  const at::Tensor a = pairs.u.matmul(at::diag(pairs.d))
                           .matmul(pairs.u.t())
                           .add(at::eye(4, at::kDouble), 0.1);
  for (const LowRankForm form : {kExact, kProjected}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        auto inverse, LowRankInverse::Create(pairs, Options(0.1, form)));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor dense,
                                   inverse->Apply(at::eye(4, at::kDouble)));
    EXPECT_THAT(dense, TensorNear(at::inverse(a), 1e-13));
    EXPECT_EQ(inverse->num_negative(), 1);
    EXPECT_EQ(inverse->num_dropped(), 0);
  }
}

TEST(LowRankInverseTest, ProjectedDropsWhatRoundingCannotTellFromZero) {
  // 6 parameters: epsilon * P * the largest is 4e-15 in float64.
  const LowRank pairs = Pairs(6, {3, 1e-14, -1e-15, 1});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto inverse, LowRankInverse::Create(pairs, Options(0, kProjected)));
  EXPECT_EQ(inverse->num_dropped(), 1);
  EXPECT_EQ(inverse->num_negative(), 0);
  const at::Tensor kept =
      pairs.u.index_select(1, at::tensor({0, 1, 3}, at::kLong));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor dense,
                                 inverse->Apply(at::eye(6, at::kDouble)));
  EXPECT_THAT(
      dense,
      TensorNear(
          kept.matmul(at::diag(at::tensor({1.0 / 3, 1e14, 1.0}, at::kDouble)))
              .matmul(kept.t()),
          1e-13));
  // Also with a regularization, and more of them where the D are less exact.
  LowRankInverseOptions options = Options(0.5, kProjected);
  options.relative_accuracy = std::numeric_limits<float>::epsilon();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto inexact,
                                 LowRankInverse::Create(pairs, options));
  EXPECT_EQ(inexact->num_dropped(), 2);
}

TEST(LowRankInverseTest, SingularIsAnErrorThatNamesTheRegularization) {
  EXPECT_THAT(LowRankInverse::Create(Pairs(5, {2, 1}), Options(0, kExact)),
              StatusIs(kInvalid, AllOf(HasSubstr("regularization: found 0"),
                                       HasSubstr("--regularization"))));
  // lambda meets an eigenvalue of -lambda.
  for (const LowRankForm form : {kExact, kProjected}) {
    EXPECT_THAT(LowRankInverse::Create(Pairs(5, {2, -0.5}), Options(0.5, form)),
                StatusIs(kInvalid, AllOf(HasSubstr("regularization: found 0.5"),
                                         HasSubstr("-0.5"))));
    INFLUENCE_EXPECT_OK(
        LowRankInverse::Create(Pairs(5, {2, -0.5}), Options(0.501, form)));
  }
  // A block of zeros, as a dead unit leaves it.
  const LowRank zero = Pairs(5, {0, 0});
  EXPECT_THAT(LowRankInverse::Create(zero, Options(0, kProjected)),
              StatusIs(kInvalid, HasSubstr("--regularization")));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto inverse, LowRankInverse::Create(zero, Options(0.5, kExact)));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor dense,
                                 inverse->Apply(at::eye(5, at::kDouble)));
  EXPECT_THAT(dense, TensorNear(at::eye(5, at::kDouble).mul(2), 0));
}

TEST(LowRankInverseTest, AnotherRegularizationSharesTheEigenpairs) {
  const LowRank pairs = Pairs(6, {3, 1, -0.25});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto first, LowRankInverse::Create(pairs, Options(0.1, kExact)));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto second, first->WithRegularization(0.7));
  EXPECT_EQ(second->low_rank().u.data_ptr(), first->low_rank().u.data_ptr());
  EXPECT_EQ(second->low_rank().d.data_ptr(), first->low_rank().d.data_ptr());
  EXPECT_EQ(second->regularization(), 0.7);
  EXPECT_EQ(second->form(), kExact);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor dense,
                                 second->Apply(at::eye(6, at::kDouble)));
  EXPECT_THAT(dense, TensorNear(DenseInverse(pairs, 0.7, kExact), 1e-13));
}

TEST(LowRankInverseTest, ScoresFromFactorsEqualThoseOfTheDenseInverse) {
  // P = 208 and rank 3: two queries are cheaper written out, nine are not.
  const auto model = TanhMlp({12, 12, 4}, at::kDouble, 1);
  const Batch train = SeededClassification(7, 12, 4, at::kDouble, 3);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::shared_ptr<const GradientProvider> plain,
      AutogradGradientProvider::Create(model, CrossEntropyLoss()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::shared_ptr<const GradientProvider> capturing,
      CapturingGradientProvider::Create(model, CrossEntropyLoss(), train));
  const LowRank pairs = Pairs(208, {2, 0.5, -0.1});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor right, plain->FlatGrads(train));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor mixed,
                                 plain->FlatMixedGrads(train));
  for (const LowRankForm form : {kExact, kProjected}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        auto inverse, LowRankInverse::Create(pairs, Options(0.3, form)));
    const at::Tensor dense = DenseInverse(pairs, 0.3, form);
    const auto bilinear = inverse->AsBilinearForm();
    for (const int64_t num_queries : {2, 9}) {
      SCOPED_TRACE(absl::StrCat(LowRankFormName(form), ", ", num_queries));
      const Batch test =
          SeededClassification(num_queries, 12, 4, at::kDouble, 5);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor left, plain->FlatGrads(test));
      const at::Tensor transformed = left.matmul(dense);
      for (const auto& provider : {plain, capturing}) {
        INFLUENCE_ASSERT_OK_AND_ASSIGN(
            at::Tensor scores,
            bilinear->GradsInnerProd(test, train, *provider));
        EXPECT_THAT(scores, TensorNear(transformed.matmul(right.t()), 1e-12));
        INFLUENCE_ASSERT_OK_AND_ASSIGN(FactoredGradients factors,
                                       provider->FactoredGrads(test));
        INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto prepared,
                                       bilinear->PrepareGrads(factors));
        INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor own,
                                       prepared->RowwiseInnerProd(factors));
        EXPECT_THAT(own, TensorNear(transformed.mul(left).sum(1), 1e-12));
        INFLUENCE_ASSERT_OK_AND_ASSIGN(
            scores, bilinear->MixedGradsInnerProd(test, train, *provider));
        EXPECT_THAT(
            scores,
            TensorNear(at::einsum("mp,nxp->mnx", {transformed, mixed}), 1e-12));
      }
    }
  }
}

// A few eigenvalues a million times lambda, and gradients mostly along their
// eigenvectors, as those of a trained model.
TEST(LowRankInverseTest, Float32ScoresDoNotCancel) {
  const Batch train = SeededClassification(40, 16, 5, at::kFloat, 2);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::shared_ptr<const GradientProvider> provider,
      CapturingGradientProvider::Create(TanhMlp({16, 24, 5}, at::kFloat, 1),
                                        CrossEntropyLoss(), train));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor grads, provider->FlatGrads(train));
  const at::Tensor g = grads.to(at::kDouble);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const LowRank exact_pairs,
      DenseEigenpairs(g.t().matmul(g).div(40), 35, at::kDouble));
  const double regularization = 1e-6 * exact_pairs.d[0].item<double>();
  const at::Tensor expected =
      g.matmul(DenseInverse(exact_pairs, regularization, kExact)).matmul(g.t());
  const double largest = expected.abs().max().item<double>();

  LowRank pairs = exact_pairs;
  pairs.u = pairs.u.to(at::kFloat);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto inverse,
      LowRankInverse::Create(pairs, Options(regularization, kExact)));
  const auto bilinear = inverse->AsBilinearForm();
  for (const int64_t num_queries : {4, 40}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch test,
                                   SliceBatch(train, 0, num_queries));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        at::Tensor scores, bilinear->GradsInnerProd(test, train, *provider));
    EXPECT_EQ(scores.scalar_type(), at::kFloat);
    EXPECT_THAT(scores, TensorNearAtScale(
                            expected.narrow(0, 0, num_queries).to(at::kFloat),
                            1e-5, largest));
  }
  // The difference that the exact form must not take in float32.
  const at::Tensor coefficients = grads.matmul(pairs.u);
  const at::Tensor weights =
      pairs.d.div(pairs.d.add(regularization)).to(at::kFloat);
  const at::Tensor naive =
      grads.matmul(grads.t())
          .sub(coefficients.mul(weights).matmul(coefficients.t()))
          .div(regularization);
  EXPECT_GT(naive.sub(expected).abs().max().item<double>(), 1e-5 * largest);
}

TEST(LowRankInverseTest, NamesOfTheForms) {
  for (const LowRankForm form : {kExact, kProjected}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const LowRankForm parsed,
                                   ParseLowRankForm(LowRankFormName(form)));
    EXPECT_EQ(parsed, form);
  }
  EXPECT_THAT(ParseLowRankForm("full"),
              StatusIs(kInvalid, HasSubstr("expected exact or projected")));
}

TEST(LowRankInverseTest, RefusesBadArguments) {
  EXPECT_THAT(LowRankInverse::Create(Pairs(3, {1}), Options(-1, kExact)),
              StatusIs(kInvalid, HasSubstr("regularization: found -1")));
  LowRankInverseOptions options = Options(1, kExact);
  options.relative_accuracy = 0;
  EXPECT_THAT(LowRankInverse::Create(Pairs(3, {1}), options),
              StatusIs(kInvalid, HasSubstr("relative_accuracy: found 0")));
  EXPECT_THAT(
      LowRankInverse::Create({at::Tensor(), at::zeros({1}, at::kDouble)},
                             Options(1, kExact)),
      StatusIs(kInvalid, HasSubstr("U: found an undefined")));
}

}  // namespace
}  // namespace influence
