// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/generalized_linear_model.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/einsum.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/full.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/sin.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "ATen/ops/zeros_like.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// Sums of a few dozen products of numbers of order one.
constexpr double kTolerance = 1e-13;

// Entries in [-1, 1], the same in every run.
at::Tensor Numbers(at::IntArrayRef shape, double step) {
  int64_t size = 1;
  for (const int64_t length : shape) size *= length;
  return at::sin(at::arange(1, size + 1, at::kDouble).mul(step)).reshape(shape);
}

struct Problem {
  GeneralizedLinearLoss loss;
  int64_t num_outputs;
  bool intercept;
};

void PrintTo(const Problem& problem, std::ostream* out) {
  *out << GeneralizedLinearLossName(problem.loss) << " with "
       << problem.num_outputs << " outputs, "
       << (problem.intercept ? "with" : "without") << " intercept";
}

constexpr int64_t kFeatures = 3;

at::Tensor Weight(const Problem& problem) {
  return Numbers({problem.num_outputs, kFeatures}, 1.1);
}

at::Tensor Bias(const Problem& problem) {
  return problem.intercept ? Numbers({problem.num_outputs}, 2.3) : at::Tensor();
}

std::shared_ptr<const GeneralizedLinearModel> MakeModel(
    const Problem& problem) {
  return *GeneralizedLinearModel::Create(problem.loss, Weight(problem),
                                         Bias(problem));
}

Batch MakeBatch(const Problem& problem, int64_t size, double step = 0.7) {
  const at::Tensor numbers = Numbers({size, problem.num_outputs}, 0.9 * step);
  Batch batch{{Numbers({size, kFeatures}, step)}, numbers};
  if (problem.loss == GeneralizedLinearLoss::kBinaryCrossEntropyWithLogits) {
    batch.y = numbers.gt(0).to(at::kDouble);
    batch.y[0][0] = 0.25;  // A probability serves as well.
  } else if (problem.loss == GeneralizedLinearLoss::kCrossEntropy) {
    batch.y = at::arange(size, at::kLong).remainder(problem.num_outputs);
  }
  return batch;
}

// Plain autograd on the same model, one sample at a time.
std::shared_ptr<const AutogradGradientProvider> Reference(
    const Problem& problem) {
  const at::Tensor w = ParameterLike(Weight(problem));
  std::vector<NamedParameter> parameters = {{"weight", w}};
  at::Tensor b;
  if (problem.intercept) {
    b = ParameterLike(Bias(problem));
    parameters.push_back({"bias", b});
  }
  const auto model = std::make_shared<const FunctionModel>(
      parameters, [w, b](const std::vector<at::Tensor>& x) {
        return at::linear(x[0], w, b);
      });
  return *AutogradGradientProvider::Create(
      model, *LossByName(GeneralizedLinearLossName(problem.loss)));
}

TensorBatchSequence InBatches(const Batch& batch, int64_t batch_size) {
  return *TensorBatchSequence::Create(batch, batch_size);
}

class GeneralizedLinearModelTest : public testing::TestWithParam<Problem> {
 protected:
  std::shared_ptr<const GeneralizedLinearModel> model_ = MakeModel(GetParam());
  std::shared_ptr<const AutogradGradientProvider> reference_ =
      Reference(GetParam());
  Batch batch_ = MakeBatch(GetParam(), 7);
};

INSTANTIATE_TEST_SUITE_P(
    , GeneralizedLinearModelTest,
    testing::Values(
        Problem{GeneralizedLinearLoss::kMeanSquaredError, 1, true},
        Problem{GeneralizedLinearLoss::kMeanSquaredError, 3, true},
        Problem{GeneralizedLinearLoss::kMeanSquaredError, 2, false},
        Problem{GeneralizedLinearLoss::kBinaryCrossEntropyWithLogits, 1, true},
        Problem{GeneralizedLinearLoss::kBinaryCrossEntropyWithLogits, 2, true},
        Problem{GeneralizedLinearLoss::kBinaryCrossEntropyWithLogits, 1, false},
        Problem{GeneralizedLinearLoss::kCrossEntropy, 1, true},
        Problem{GeneralizedLinearLoss::kCrossEntropy, 2, false},
        Problem{GeneralizedLinearLoss::kCrossEntropy, 4, true}));

TEST_P(GeneralizedLinearModelTest, SaysItsSizes) {
  const Problem& problem = GetParam();
  EXPECT_EQ(model_->loss(), problem.loss);
  EXPECT_EQ(model_->has_intercept(), problem.intercept);
  EXPECT_EQ(model_->num_features(), kFeatures);
  EXPECT_EQ(model_->num_outputs(), problem.num_outputs);
  EXPECT_EQ(model_->num_parameters(), reference_->num_parameters());
}

TEST_P(GeneralizedLinearModelTest, OutputsAndLossesAreAutograds) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor output,
                                 reference_->model().Forward(batch_.x));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor losses,
      reference_->function().Evaluate(output, batch_.y));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found_output,
                                 model_->Outputs(batch_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found_losses,
                                 model_->Losses(batch_));
  EXPECT_THAT(found_output, TensorNear(output.detach(), kTolerance));
  // The loss of a single class is zero.
  EXPECT_THAT(found_losses, TensorNearAtScale(losses.detach(), kTolerance, 1));
}

TEST_P(GeneralizedLinearModelTest, GradientsAreAutograds) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                                 reference_->FlatGrads(batch_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor grads,
                                 model_->FlatGrads(batch_));
  EXPECT_THAT(grads, TensorNearAtScale(expected, kTolerance, 1));
}

TEST_P(GeneralizedLinearModelTest, MixedDerivativesAreAutograds) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                                 reference_->FlatMixedGrads(batch_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor mixed,
                                 model_->FlatMixedGrads(batch_));
  EXPECT_THAT(mixed, TensorNearAtScale(expected, kTolerance, 1));
}

TEST_P(GeneralizedLinearModelTest, ProductsAreThoseOfTheWrittenOutGradients) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor grads,
                                 model_->FlatGrads(batch_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor mixed,
                                 model_->FlatMixedGrads(batch_));
  const at::Tensor v = Numbers({2, model_->num_parameters()}, 0.37);
  const at::Tensor weights = Numbers({2, 7}, 0.61);

  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor products,
                                 model_->JacobianProd(batch_, v));
  EXPECT_THAT(products, TensorNearAtScale(grads.mm(v.t()), kTolerance, 1));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor sums,
                                 model_->WeightedGradSums(batch_, weights));
  EXPECT_THAT(sums, TensorNearAtScale(weights.mm(grads), kTolerance, 1));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor norms,
                                 model_->SquaredGradNorms(batch_));
  EXPECT_THAT(norms, TensorNearAtScale(grads.square().sum(1), kTolerance, 1));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor mixed_products,
                                 model_->MixedProd(batch_, v));
  EXPECT_THAT(
      mixed_products,
      TensorNearAtScale(at::einsum("qp,ndp->qnd", {v, mixed}), kTolerance, 1));

  const Batch other = MakeBatch(GetParam(), 4, 0.41);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor other_grads,
                                 model_->FlatGrads(other));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor gram,
                                 model_->GradsInnerProd(other, batch_));
  EXPECT_THAT(gram,
              TensorNearAtScale(other_grads.mm(grads.t()), kTolerance, 1));
}

TEST_P(GeneralizedLinearModelTest, VectorsDropTheDimensionOfRightHandSides) {
  const at::Tensor v = Numbers({1, model_->num_parameters()}, 0.37);
  const at::Tensor weights = Numbers({1, 7}, 0.61);
  EXPECT_TRUE(model_->JacobianProd(batch_, v[0])
                  ->equal(model_->JacobianProd(batch_, v)->squeeze(1)));
  EXPECT_TRUE(model_->WeightedGradSums(batch_, weights[0])
                  ->equal((*model_->WeightedGradSums(batch_, weights))[0]));
  EXPECT_TRUE(model_->HessianProd(batch_, v[0])
                  ->equal((*model_->HessianProd(batch_, v))[0]));
  EXPECT_TRUE(model_->GaussNewtonProd(batch_, v[0])
                  ->equal((*model_->GaussNewtonProd(batch_, v))[0]));
  EXPECT_TRUE(
      model_->MixedProd(batch_, v[0])->equal(*model_->MixedProd(batch_, v)));
}

// Central differences of the mean gradient: exact to step^2 and to rounding
// divided by step, 1e-9 at best.
TEST_P(GeneralizedLinearModelTest, HessianIsTheDerivativeOfTheGradient) {
  constexpr double kStep = 1e-5;
  const Problem& problem = GetParam();
  const int64_t weights = problem.num_outputs * kFeatures;
  const int64_t p = model_->num_parameters();
  const auto mean_gradient = [&](int64_t index, double step) {
    at::Tensor flat = Weight(problem).reshape({-1});
    if (problem.intercept) flat = at::cat({flat, Bias(problem)});
    flat[index].add_(step);
    const auto moved = *GeneralizedLinearModel::Create(
        problem.loss, flat.narrow(0, 0, weights).view({-1, kFeatures}),
        problem.intercept ? flat.narrow(0, weights, problem.num_outputs)
                          : at::Tensor());
    return moved->FlatGrads(batch_)->mean(0);
  };
  at::Tensor expected = at::zeros({p, p}, at::kDouble);
  for (int64_t i = 0; i < p; ++i) {
    expected[i].copy_(
        mean_gradient(i, kStep).sub(mean_gradient(i, -kStep)).div(2 * kStep));
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor hessian,
                                 model_->DenseHessian(InBatches(batch_, 7)));
  EXPECT_THAT(hessian, TensorNearAtScale(expected, 1e-9, 1));
}

TEST_P(GeneralizedLinearModelTest, GaussNewtonIsTheMeanOfOuterProducts) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor grads,
                                 model_->FlatGrads(batch_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor matrix, model_->DenseGaussNewton(InBatches(batch_, 7)));
  EXPECT_THAT(matrix,
              TensorNearAtScale(grads.t().mm(grads).div(7), kTolerance, 1));
}

TEST_P(GeneralizedLinearModelTest, ProductsAreThoseOfTheDenseMatrices) {
  const TensorBatchSequence data = InBatches(batch_, 3);
  const at::Tensor v = Numbers({3, model_->num_parameters()}, 0.37);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor hessian,
                                 model_->DenseHessian(data));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor gauss_newton,
                                 model_->DenseGaussNewton(data));
  EXPECT_TRUE(hessian.equal(hessian.t()));
  EXPECT_TRUE(gauss_newton.equal(gauss_newton.t()));
  const auto h = TensorNearAtScale(v.mm(hessian), kTolerance, 1);
  const auto f = TensorNearAtScale(v.mm(gauss_newton), kTolerance, 1);
  EXPECT_THAT(*model_->HessianProd(data, v), h);
  EXPECT_THAT(*model_->HessianProd(batch_, v), h);
  EXPECT_THAT(*model_->GaussNewtonProd(data, v), f);
  EXPECT_THAT(*model_->GaussNewtonProd(batch_, v), f);
}

// More samples than a chunk holds, in uneven batches and on several threads.
TEST_P(GeneralizedLinearModelTest, ChunksBatchesAndThreadsChangeOnlyRounding) {
  constexpr int64_t kSize = 4500;
  const Batch batch = MakeBatch(GetParam(), kSize);
  const at::Tensor v = Numbers({2, model_->num_parameters()}, 0.37);
  const at::Tensor weights = Numbers({2, kSize}, 0.61);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor hessian = *model_->DenseHessian(InBatches(batch, 101));
  const at::Tensor gauss_newton =
      *model_->DenseGaussNewton(InBatches(batch, 101));
  const at::Tensor grads = *model_->FlatGrads(batch);
  at::set_num_threads(3);
  // A few thousand terms are added in another order.
  constexpr double kReordered = 1e-12;
  EXPECT_THAT(*model_->DenseHessian(InBatches(batch, kSize)),
              TensorNearAtScale(hessian, kReordered, 1));
  EXPECT_THAT(*model_->DenseGaussNewton(InBatches(batch, kSize)),
              TensorNearAtScale(gauss_newton, kReordered, 1));
  EXPECT_THAT(*model_->HessianProd(InBatches(batch, 4099), v),
              TensorNearAtScale(v.mm(hessian), kReordered, 1));
  EXPECT_THAT(*model_->GaussNewtonProd(batch, v),
              TensorNearAtScale(v.mm(gauss_newton), kReordered, 1));
  EXPECT_THAT(*model_->WeightedGradSums(batch, weights),
              TensorNearAtScale(weights.mm(grads), kReordered, kSize));
  EXPECT_THAT(*model_->JacobianProd(batch, v),
              TensorNearAtScale(grads.mm(v.t()), kTolerance, 1));
  EXPECT_TRUE(model_->FlatGrads(batch)->equal(grads));
  EXPECT_THAT(*model_->GradsInnerProd(batch_, batch),
              TensorNearAtScale(model_->FlatGrads(batch_)->mm(grads.t()),
                                kTolerance, 1));
  at::set_num_threads(threads);
}

TEST_P(GeneralizedLinearModelTest, Float32InputIsConverted) {
  Batch single = batch_;
  single.x[0] = single.x[0].to(at::kFloat);
  if (single.y.is_floating_point()) single.y = single.y.to(at::kFloat);
  Batch rounded = single;
  rounded.x[0] = rounded.x[0].to(at::kDouble);
  if (rounded.y.is_floating_point()) rounded.y = rounded.y.to(at::kDouble);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor grads,
                                 model_->FlatGrads(single));
  EXPECT_EQ(grads.scalar_type(), at::kDouble);
  EXPECT_TRUE(grads.equal(*model_->FlatGrads(rounded)));
  const auto converted = *GeneralizedLinearModel::Create(
      GetParam().loss, Weight(GetParam()).to(at::kFloat));
  EXPECT_EQ(converted->weight().scalar_type(), at::kDouble);
}

// A strip of columns is narrower than this matrix.
TEST(GeneralizedLinearModelWideTest, StripsMakeUpTheWholeCurvature) {
  constexpr int64_t kWide = 70;
  const auto model = *GeneralizedLinearModel::Create(
      GeneralizedLinearLoss::kCrossEntropy, Numbers({3, kWide}, 1.1).mul(0.1),
      Numbers({3}, 2.3));
  const Batch batch{{Numbers({50, kWide}, 0.7)},
                    at::arange(50, at::kLong).remainder(3)};
  const int64_t p = model->num_parameters();
  const TensorBatchSequence data = InBatches(batch, 20);
  EXPECT_THAT(*model->DenseHessian(data),
              TensorNear(*model->HessianProd(data, at::eye(p, at::kDouble)),
                         kTolerance));
  EXPECT_THAT(*model->DenseGaussNewton(data),
              TensorNear(*model->GaussNewtonProd(data, at::eye(p, at::kDouble)),
                         kTolerance));
}

// The softmax Hessian is singular along equal shifts of all outputs.
TEST(GeneralizedLinearModelSoftmaxTest, ShiftsOfAllOutputsHaveNoCurvature) {
  const Problem problem{GeneralizedLinearLoss::kCrossEntropy, 3, true};
  const auto model = MakeModel(problem);
  const Batch batch = MakeBatch(problem, 9);
  const at::Tensor shift =
      at::cat({Numbers({1, kFeatures}, 0.4).repeat({3, 1}).reshape({-1}),
               at::full({3}, 0.3, at::kDouble)});
  EXPECT_THAT(*model->HessianProd(batch, shift),
              TensorNearAtScale(at::zeros({12}, at::kDouble), kTolerance, 1));
}

// Where exp() under- or overflows, the logit's own size is the loss.
TEST(GeneralizedLinearModelExtremeTest, LargeLogitsKeepTheirPrecision) {
  const at::Tensor x =
      at::tensor({800.0, -800.0, 40.0, -40.0}, at::kDouble).view({4, 1});
  const at::Tensor w = at::full({1, 1}, 1.0, at::kDouble);
  const auto binary = *GeneralizedLinearModel::Create(
      GeneralizedLinearLoss::kBinaryCrossEntropyWithLogits, w);
  const Batch ones{{x}, at::full({4, 1}, 1.0, at::kDouble)};
  const double tail = std::log1p(std::exp(-40.0));
  EXPECT_THAT(
      *binary->Losses(ones),
      TensorNear(at::tensor({0.0, 800.0, tail, 40.0 + tail}, at::kDouble),
                 1e-15));
  // p - 1 = -e^-40 / (1 + e^-40), of which nothing would be left.
  EXPECT_NEAR((*binary->OutputGrads(ones))[2][0].item<double>(),
              -std::exp(-40.0), 1e-30);

  const auto softmax = *GeneralizedLinearModel::Create(
      GeneralizedLinearLoss::kCrossEntropy, at::cat({w, at::zeros_like(w)}));
  const Batch zeros{{x}, at::zeros({4}, at::kLong)};
  EXPECT_THAT(
      *softmax->Losses(zeros),
      TensorNear(at::tensor({0.0, 800.0, tail, 40.0 + tail}, at::kDouble),
                 1e-15));
  EXPECT_NEAR((*softmax->OutputGrads(zeros))[2][0].item<double>(),
              -std::exp(-40.0), 1e-30);
}

TEST(GeneralizedLinearModelLossTest, NamesAreThoseOfTheLosses) {
  for (const std::string& name : LossNames()) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const GeneralizedLinearLoss loss,
                                   ParseGeneralizedLinearLoss(name));
    EXPECT_EQ(GeneralizedLinearLossName(loss), name);
  }
  EXPECT_THAT(ParseGeneralizedLinearLoss("hinge"),
              StatusIs(kInvalid, AllOf(HasSubstr("hinge"), HasSubstr("mse"))));
}

TEST(GeneralizedLinearModelCreateTest, RefusesBadParameters) {
  const auto create = [](const at::Tensor& weight, const at::Tensor& bias) {
    return GeneralizedLinearModel::Create(
        GeneralizedLinearLoss::kMeanSquaredError, weight, bias);
  };
  const at::Tensor weight = Numbers({2, 3}, 1.0);
  EXPECT_THAT(create(at::Tensor(), {}),
              StatusIs(kInvalid, HasSubstr("weight")));
  EXPECT_THAT(create(weight[0], {}),
              StatusIs(kInvalid, HasSubstr("weight: found shape [3]")));
  EXPECT_THAT(create(at::zeros({2, 3}, at::kLong), {}),
              StatusIs(kInvalid, HasSubstr("weight: found dtype int64")));
  EXPECT_THAT(create(weight, Numbers({3}, 1.0)),
              StatusIs(kInvalid, HasSubstr("bias: found shape [3]")));
  EXPECT_THAT(
      create(at::full({2, 3}, std::nan(""), at::kDouble), {}),
      StatusIs(kInvalid, HasSubstr("weight: found NaN at index [0, 0]")));
  EXPECT_THAT(
      create(weight, at::full({2}, std::numeric_limits<double>::infinity(),
                              at::kDouble)),
      StatusIs(kInvalid, HasSubstr("bias: found infinity")));
}

TEST(GeneralizedLinearModelCreateTest, CopiesTheParameters) {
  const at::Tensor weight = Numbers({2, 3}, 1.0);
  const auto model = *GeneralizedLinearModel::Create(
      GeneralizedLinearLoss::kMeanSquaredError, weight);
  weight.zero_();
  EXPECT_TRUE(model->weight().equal(Numbers({2, 3}, 1.0)));
}

TEST(GeneralizedLinearModelBatchTest, RefusesBadBatches) {
  const Problem softmax{GeneralizedLinearLoss::kCrossEntropy, 3, true};
  const auto model = MakeModel(softmax);
  const Batch good = MakeBatch(softmax, 4);
  EXPECT_THAT(model->Validate(good), IsOk());

  Batch bad = good;
  bad.x[0] = Numbers({4, 5}, 1.0);
  EXPECT_THAT(model->FlatGrads(bad),
              StatusIs(kInvalid, AllOf(HasSubstr("x0: found shape [4, 5]"),
                                       HasSubstr("[4, 3]"))));
  bad.x[0] = at::zeros({4, 3}, at::kLong);
  EXPECT_THAT(model->Losses(bad),
              StatusIs(kInvalid, HasSubstr("x0: found dtype int64")));
  bad = good;
  bad.x.push_back(bad.x[0]);
  EXPECT_THAT(model->DenseHessian(InBatches(bad, 2)),
              StatusIs(kInvalid, HasSubstr("found 2 inputs, expected 1")));
  bad = good;
  bad.y = bad.y.clone();
  bad.y[2] = 3;
  EXPECT_THAT(
      model->HessianProd(bad, at::zeros({12}, at::kDouble)),
      StatusIs(kInvalid, HasSubstr("labels: found value 3 at sample 2")));
  bad = good;
  bad.x[0] = bad.x[0].clone();
  bad.x[0][1][2] = std::nan("");
  EXPECT_THAT(model->Outputs(bad),
              StatusIs(kInvalid, HasSubstr("x0: found NaN at index [1, 2]")));

  const Problem linear{GeneralizedLinearLoss::kMeanSquaredError, 1, true};
  Batch broadcast = MakeBatch(linear, 4);
  broadcast.y = broadcast.y.squeeze(1);
  EXPECT_THAT(MakeModel(linear)->Losses(broadcast),
              StatusIs(kInvalid, HasSubstr("targets: found shape [4]")));
  const Problem binary{GeneralizedLinearLoss::kBinaryCrossEntropyWithLogits, 1,
                       true};
  Batch improbable = MakeBatch(binary, 4);
  improbable.y[3][0] = 1.5;
  EXPECT_THAT(MakeModel(binary)->OutputGrads(improbable),
              StatusIs(kInvalid, HasSubstr("targets: found value 1.5")));
}

TEST(GeneralizedLinearModelBatchTest, RefusesResultsThatAreNotFinite) {
  const Problem linear{GeneralizedLinearLoss::kMeanSquaredError, 1, true};
  Batch huge = MakeBatch(linear, 4);
  huge.x[0] = huge.x[0].mul(1e200);
  EXPECT_THAT(MakeModel(linear)->Losses(huge),
              StatusIs(kInvalid, HasSubstr("losses: found infinity")));
  EXPECT_THAT(MakeModel(linear)->DenseHessian(InBatches(huge, 4)),
              StatusIs(kInvalid, HasSubstr("curvature: found")));
}

TEST(GeneralizedLinearModelBatchTest, RefusesBadDirections) {
  const Problem problem{GeneralizedLinearLoss::kCrossEntropy, 3, true};
  const auto model = MakeModel(problem);
  const Batch batch = MakeBatch(problem, 4);
  EXPECT_THAT(
      model->JacobianProd(batch, at::zeros({2, 11}, at::kDouble)),
      StatusIs(kInvalid, AllOf(HasSubstr("directions"), HasSubstr("12"))));
  EXPECT_THAT(
      model->HessianProd(batch, at::full({12}, std::nan(""), at::kDouble)),
      StatusIs(kInvalid, HasSubstr("directions: found NaN")));
  EXPECT_THAT(model->WeightedGradSums(batch, at::zeros({5}, at::kDouble)),
              StatusIs(kInvalid, AllOf(HasSubstr("weights"), HasSubstr("4"))));
}

}  // namespace
}  // namespace influence
