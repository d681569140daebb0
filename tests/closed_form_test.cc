// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What autograd finds on linear and logistic regression, with either gradient
// provider, against the closed form, which shares no code with it: gradients,
// curvatures, products with them, mixed derivatives and direct influence.
#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>

#include "ATen/core/Tensor.h"
#include "ATen/ops/sigmoid.h"
#include "absl/strings/str_cat.h"
#include "calculators/aggregators.h"
#include "calculators/lazy_chunk_sequence.h"
#include "calculators/sequential_influence_calculator.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/generalized_linear_model.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "influence/direct_influence.h"
#include "influence/generalized_linear_influence.h"
#include "influence/influence_mode.h"
#include "influence/regularization.h"
#include "operators/curvature.h"
#include "operators/dense_curvature.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

// Rounding of sums of a hundred terms, in another order; a solve with a
// condition number of about 100 on top.
constexpr double kDerivatives = 1e-10;
constexpr double kScores = 1e-8;

constexpr int64_t kFeatures = 6;
constexpr int64_t kTrain = 40;

struct Problem {
  std::string provider;
  GeneralizedLinearLoss loss;
  int64_t num_outputs;
  bool intercept;
};

void PrintTo(const Problem& problem, std::ostream* out) {
  *out << problem.provider << " provider, "
       << GeneralizedLinearLossName(problem.loss) << " with "
       << problem.num_outputs << " outputs, "
       << (problem.intercept ? "with" : "without") << " intercept";
}

class ClosedFormTest : public testing::TestWithParam<Problem> {
 protected:
  void SetUp() override {
    const Problem& problem = GetParam();
    // A single layer has no tanh: it is a torch::nn::Linear.
    model_ = TanhMlp({kFeatures, problem.num_outputs}, at::kDouble, 1,
                     problem.intercept);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        closed_form_,
        GeneralizedLinearModel::Create(
            problem.loss, model_->parameters()[0].tensor,
            problem.intercept ? model_->parameters()[1].tensor : at::Tensor()));
    train_ = MakeBatch(kTrain, 2);
    test_ = MakeBatch(5, 4);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        PerSampleFunction loss,
        LossByName(GeneralizedLinearLossName(problem.loss)));
    if (problem.provider == "autograd") {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          provider_, AutogradGradientProvider::Create(model_, std::move(loss)));
    } else {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          provider_,
          CapturingGradientProvider::Create(model_, std::move(loss), train_));
    }
  }

  Batch MakeBatch(int64_t size, uint64_t seed) const {
    const Problem& problem = GetParam();
    Batch batch = SeededClassification(size, kFeatures, problem.num_outputs,
                                       at::kDouble, seed);
    const at::Tensor normal =
        SeededNormal({size, problem.num_outputs}, at::kDouble, seed + 100);
    if (problem.loss == GeneralizedLinearLoss::kMeanSquaredError) {
      batch.y = normal;
    } else if (problem.loss ==
               GeneralizedLinearLoss::kBinaryCrossEntropyWithLogits) {
      batch.y = at::sigmoid(normal).round();
    }
    return batch;
  }

  static std::shared_ptr<const BatchSequence> InBatches(const Batch& batch,
                                                        int64_t batch_size) {
    return std::make_shared<const TensorBatchSequence>(
        *TensorBatchSequence::Create(batch, batch_size));
  }

  ParameterBlocks Blocks() const {
    return ParameterBlocks::Create(*model_, BlockStructure::kFull);
  }

  std::shared_ptr<const Model> model_;
  std::shared_ptr<const GradientProvider> provider_;
  std::shared_ptr<const GeneralizedLinearModel> closed_form_;
  Batch train_;
  Batch test_;
};

constexpr auto kMse = GeneralizedLinearLoss::kMeanSquaredError;
constexpr auto kBinary = GeneralizedLinearLoss::kBinaryCrossEntropyWithLogits;
constexpr auto kSoftmax = GeneralizedLinearLoss::kCrossEntropy;

INSTANTIATE_TEST_SUITE_P(
    , ClosedFormTest,
    testing::Values(Problem{"autograd", kMse, 2, true},
                    Problem{"autograd", kBinary, 1, true},
                    Problem{"autograd", kSoftmax, 3, true},
                    Problem{"autograd", kSoftmax, 3, false},
                    Problem{"capturing", kMse, 2, true},
                    Problem{"capturing", kMse, 1, false},
                    Problem{"capturing", kBinary, 1, true},
                    Problem{"capturing", kBinary, 2, false},
                    Problem{"capturing", kSoftmax, 3, true},
                    Problem{"capturing", kSoftmax, 3, false}));

TEST_P(ClosedFormTest, Gradients) {
  EXPECT_THAT(*provider_->FlatGrads(train_),
              TensorNear(*closed_form_->FlatGrads(train_), kDerivatives));
  const at::Tensor v =
      SeededNormal({3, closed_form_->num_parameters()}, at::kDouble, 6);
  EXPECT_THAT(*provider_->JacobianProd(train_, v),
              TensorNear(*closed_form_->JacobianProd(train_, v), kDerivatives));
}

TEST_P(ClosedFormTest, MixedDerivatives) {
  EXPECT_THAT(*provider_->FlatMixedGrads(test_),
              TensorNear(*closed_form_->FlatMixedGrads(test_), kDerivatives));
  const at::Tensor v =
      SeededNormal({3, closed_form_->num_parameters()}, at::kDouble, 6);
  EXPECT_THAT(*provider_->MixedProd(train_, v),
              TensorNear(*closed_form_->MixedProd(train_, v), kDerivatives));
}

TEST_P(ClosedFormTest, Curvatures) {
  const auto data = InBatches(train_, 16);
  const at::Tensor hessian = *closed_form_->DenseHessian(*data);
  const at::Tensor gauss_newton = *closed_form_->DenseGaussNewton(*data);
  const at::Tensor v =
      SeededNormal({3, closed_form_->num_parameters()}, at::kDouble, 6);
  for (const Curvature curvature :
       {Curvature::kHessian, Curvature::kGaussNewton,
        Curvature::kGeneralizedGaussNewton}) {
    SCOPED_TRACE(CurvatureName(curvature));
    const bool is_gauss_newton = curvature == Curvature::kGaussNewton;
    const auto dense =
        FormDenseCurvature(curvature, *provider_, Blocks(), *data);
    ASSERT_THAT(dense, IsOk());
    EXPECT_THAT(
        (*dense)[0],
        TensorNear(is_gauss_newton ? gauss_newton : hessian, kDerivatives));
    EXPECT_THAT(
        *CreateCurvatureOperation(curvature, provider_)->Apply(train_, v),
        TensorNear(is_gauss_newton ? *closed_form_->GaussNewtonProd(train_, v)
                                   : *closed_form_->HessianProd(train_, v),
                   kDerivatives));
  }
}

TEST_P(ClosedFormTest, DirectInfluence) {
  const auto data = InBatches(train_, 16);
  for (const std::optional<double> lambda :
       {std::optional<double>(0.03), std::optional<double>()}) {
    DirectInfluenceOptions options;
    if (lambda.has_value()) {
      options.regularization = *Regularization::Constant(*lambda);
    }
    const auto direct = *DirectInfluence::Create(provider_, Blocks(), options);
    ASSERT_THAT(direct->Fit(data), IsOk());
    const auto expected = *GeneralizedLinearInfluence::Create(
        closed_form_, {Curvature::kHessian, lambda});
    ASSERT_THAT(expected->Fit(data), IsOk());
    EXPECT_NEAR(*direct->report()[0].regularization,
                expected->inverse()->regularization(), kDerivatives);
    for (const InfluenceMode mode :
         {InfluenceMode::kUp, InfluenceMode::kPerturbation}) {
      SCOPED_TRACE(InfluenceModeName(mode));
      EXPECT_THAT(
          *direct->Influences(test_, train_, mode),
          TensorNear(*expected->Influences(test_, train_, mode), kScores));
    }
    EXPECT_THAT(*direct->InfluenceFactors(test_),
                TensorNear(*expected->InfluenceFactors(test_), kScores));
  }
}

// The calculators take the closed form as any other model.
TEST_P(ClosedFormTest, SequentialCalculator) {
  std::shared_ptr<GeneralizedLinearInfluence> model =
      *GeneralizedLinearInfluence::Create(closed_form_,
                                          {Curvature::kHessian, 0.03});
  ASSERT_THAT(model->Fit(InBatches(train_, 16)), IsOk());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto calculator,
                                 SequentialInfluenceCalculator::Create(model));
  const auto test = InBatches(test_, 2);
  const auto train = InBatches(train_, 16);
  for (const InfluenceMode mode :
       {InfluenceMode::kUp, InfluenceMode::kPerturbation}) {
    const at::Tensor expected = *model->Influences(test_, train_, mode);
    EXPECT_THAT(*calculator.Influences(test, train, mode)
                     .Compute(NestedCatAggregator()),
                TensorNear(expected, kDerivatives));
    EXPECT_THAT(*calculator
                     .InfluencesFromFactors(calculator.InfluenceFactors(test),
                                            train, mode)
                     .Compute(NestedCatAggregator()),
                TensorNear(expected, kDerivatives));
  }
}

}  // namespace
}  // namespace influence
