// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/generalized_linear_influence.h"

#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include "ATen/core/Tensor.h"
#include "ATen/ops/einsum.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/linalg_solve.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/generalized_linear_model.h"
#include "gtest/gtest.h"
#include "influence/influence_mode.h"
#include "influence/prepared_queries.h"
#include "operators/curvature.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// Two well conditioned solves of a dozen unknowns.
constexpr double kTolerance = 1e-12;
constexpr double kLambda = 0.05;

class GeneralizedLinearInfluenceTest : public testing::Test {
 protected:
  std::shared_ptr<const BatchSequence> Data(int64_t batch_size = 8) const {
    return std::make_shared<const TensorBatchSequence>(
        *TensorBatchSequence::Create(train_, batch_size));
  }

  std::unique_ptr<GeneralizedLinearInfluence> MakeFitted(
      const GeneralizedLinearInfluenceOptions& options) const {
    auto influence = *GeneralizedLinearInfluence::Create(model_, options);
    EXPECT_THAT(influence->Fit(Data()), IsOk());
    return influence;
  }

  // A^-1 G^T by another solver: rows of factors.
  at::Tensor Factors(const Batch& test, Curvature curvature,
                     double regularization) const {
    const at::Tensor c = curvature == Curvature::kGaussNewton
                             ? *model_->DenseGaussNewton(*Data())
                             : *model_->DenseHessian(*Data());
    const at::Tensor a =
        c.add(at::eye(c.size(0), at::kDouble).mul(regularization));
    return at::linalg_solve(a, model_->FlatGrads(test)->t()).t().contiguous();
  }

  std::shared_ptr<const GeneralizedLinearModel> model_ =
      *GeneralizedLinearModel::Create(GeneralizedLinearLoss::kCrossEntropy,
                                      SeededNormal({3, 4}, at::kDouble, 1),
                                      SeededNormal({3}, at::kDouble, 2));
  Batch train_ = SeededClassification(30, 4, 3, at::kDouble, 3);
  Batch test_ = SeededClassification(5, 4, 3, at::kDouble, 5);
};

TEST_F(GeneralizedLinearInfluenceTest, ScoresAreThoseOfADenseSolve) {
  for (const Curvature curvature :
       {Curvature::kHessian, Curvature::kGaussNewton,
        Curvature::kGeneralizedGaussNewton}) {
    const auto influence = MakeFitted({curvature, kLambda});
    EXPECT_EQ(influence->num_parameters(), 15);
    EXPECT_EQ(influence->num_fitted_samples(), 30);
    const at::Tensor factors = Factors(test_, curvature, kLambda);
    const at::Tensor grads = *model_->FlatGrads(train_);
    const at::Tensor mixed = *model_->FlatMixedGrads(train_);
    EXPECT_THAT(*influence->InfluenceFactors(test_),
                TensorNear(factors, kTolerance));
    EXPECT_THAT(*influence->Influences(test_, train_),
                TensorNear(factors.mm(grads.t()), kTolerance));
    EXPECT_THAT(
        *influence->Influences(test_, train_, InfluenceMode::kPerturbation),
        TensorNear(at::einsum("mp,ndp->mnd", {factors, mixed}), kTolerance));
  }
}

TEST_F(GeneralizedLinearInfluenceTest, AllWaysToAScoreAgree) {
  const auto influence = MakeFitted({Curvature::kHessian, kLambda});
  const at::Tensor factors = *influence->InfluenceFactors(test_);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto queries,
                                 influence->PrepareQueries(test_));
  EXPECT_EQ(queries->num_queries(), 5);
  for (const InfluenceMode mode :
       {InfluenceMode::kUp, InfluenceMode::kPerturbation}) {
    const at::Tensor scores = *influence->Influences(test_, train_, mode);
    EXPECT_TRUE(queries->Influences(train_, mode)->equal(scores));
    EXPECT_TRUE(
        influence->InfluencesFromFactors(factors, train_, mode)->equal(scores));
    EXPECT_TRUE(influence->Influences(test_, std::nullopt, mode)
                    ->equal(*influence->Influences(test_, test_, mode)));
  }
  EXPECT_THAT(*influence->SelfInfluences(train_),
              TensorNear(influence->Influences(train_)->diagonal().contiguous(),
                         kTolerance));
}

TEST_F(GeneralizedLinearInfluenceTest, BatchSizeChangesOnlyRounding) {
  const auto influence = MakeFitted({Curvature::kHessian, kLambda});
  const at::Tensor expected = *influence->Influences(test_, train_);
  ASSERT_THAT(influence->Fit(Data(30)), IsOk());
  EXPECT_THAT(*influence->Influences(test_, train_),
              TensorNear(expected, kTolerance));
}

TEST_F(GeneralizedLinearInfluenceTest, FindsARegularizationFromTheGradients) {
  const double norms = model_->FlatGrads(train_)->square().sum().item<double>();
  const double expected = 0.1 * norms / 30 / 15;
  for (const Curvature curvature :
       {Curvature::kHessian, Curvature::kGaussNewton}) {
    const auto influence = MakeFitted({curvature, std::nullopt});
    EXPECT_NEAR(influence->inverse()->regularization(), expected,
                1e-14 * expected);
  }
}

TEST_F(GeneralizedLinearInfluenceTest, ChangesTheRegularizationWithoutAFit) {
  const auto influence = MakeFitted({Curvature::kHessian, kLambda});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto other,
                                 influence->WithRegularization(0.5));
  EXPECT_EQ(other->num_fitted_samples(), 30);
  EXPECT_THAT(*other->InfluenceFactors(test_),
              TensorNear(Factors(test_, Curvature::kHessian, 0.5), kTolerance));
  EXPECT_THAT(influence->WithRegularization(-1),
              StatusIs(kInvalid, HasSubstr("regularization: found -1")));
}

TEST_F(GeneralizedLinearInfluenceTest, RefusesWhatItCannotDo) {
  EXPECT_THAT(GeneralizedLinearInfluence::Create(nullptr),
              StatusIs(kInvalid, HasSubstr("model: is null")));
  EXPECT_THAT(GeneralizedLinearInfluence::Create(
                  model_, {Curvature::kHessian,
                           std::numeric_limits<double>::quiet_NaN()}),
              StatusIs(kInvalid, HasSubstr("regularization")));
  const auto influence = *GeneralizedLinearInfluence::Create(model_);
  EXPECT_FALSE(influence->is_fitted());
  EXPECT_THAT(
      influence->Influences(test_, train_),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("not fitted")));
  EXPECT_THAT(
      influence->SelfInfluences(train_),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("not fitted")));

  // Equal shifts of all outputs have no curvature.
  const auto singular =
      *GeneralizedLinearInfluence::Create(model_, {Curvature::kHessian, 0.0});
  EXPECT_THAT(singular->Fit(Data()),
              StatusIs(kInvalid, AllOf(HasSubstr("singular"),
                                       HasSubstr("--regularization"))));
  EXPECT_FALSE(singular->is_fitted());

  const auto fitted = MakeFitted({Curvature::kHessian, kLambda});
  EXPECT_THAT(
      fitted->InfluencesFromFactors(at::zeros({2, 14}, at::kDouble), train_),
      StatusIs(kInvalid, AllOf(HasSubstr("factors"), HasSubstr("15"))));
  EXPECT_THAT(
      fitted->Influences(test_, train_, InfluenceMode::kPerturbation, 1),
      StatusIs(kInvalid, HasSubstr("input: found 1")));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto queries,
                                 fitted->PrepareQueries(test_));
  EXPECT_THAT(queries->Influences(train_, InfluenceMode::kPerturbation, 1),
              StatusIs(kInvalid, HasSubstr("input: found 1")));
  EXPECT_THAT(
      queries->InfluencesByBlock(train_),
      StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("no blocks")));
}

}  // namespace
}  // namespace influence
