// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/kronecker_influence.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/conv1d.h"
#include "ATen/ops/diag.h"
#include "ATen/ops/einsum.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/inverse.h"
#include "ATen/ops/kron.h"
#include "ATen/ops/linalg_eigh.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/tanh.h"
#include "ATen/ops/tensor.h"
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
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnfitted = absl::StatusCode::kFailedPrecondition;

Regularization Constant(double value) {
  return *Regularization::Constant(value);
}

std::shared_ptr<const BatchSequence> AsSequence(const Batch& batch,
                                                int64_t batch_size) {
  return std::make_shared<const TensorBatchSequence>(
      *TensorBatchSequence::Create(batch, batch_size));
}

// The stated formula for one Linear layer with a bias, dense, float64 [P_b,
// P_b], from whole per-sample gradients [N, O I + O]: the bias's gradient is g,
// and a = W^T g / |g|^2.
at::Tensor DenseInverseOfLayer(const at::Tensor& grads, int64_t o, int64_t i,
                               KroneckerMethod method, double regularization) {
  const int64_t n = grads.size(0);
  const at::Tensor w = grads.narrow(1, 0, o * i).view({n, o, i});
  const at::Tensor g = grads.narrow(1, o * i, o);
  const at::Tensor a = at::cat(
      {at::einsum("noi,no->ni", {w, g}).div(g.square().sum(1).unsqueeze(1)),
       at::ones({n, 1}, at::kDouble)},
      /*dim=*/1);
  const auto samples = static_cast<double>(n);
  const auto [sa, ua] = at::linalg_eigh(a.t().matmul(a).div(samples));
  const auto [sg, ug] = at::linalg_eigh(g.t().matmul(g).div(samples));
  const at::Tensor lambda =
      method == KroneckerMethod::kKfac
          ? sg.unsqueeze(1).mul(sa.unsqueeze(0))
          : at::einsum("nk,nl->nkl", {g.matmul(ug), a.matmul(ua)})
                .square()
                .mean(0);
  const at::Tensor u = at::kron(ug.contiguous(), ua.contiguous());
  const at::Tensor c =
      u.matmul(at::diag(lambda.reshape({-1}))).matmul(u.t());  // [O (I + 1)]^2
  // The columns of the weight first, then those of the bias.
  std::vector<int64_t> order;
  for (int64_t row = 0; row < o; ++row) {
    for (int64_t column = 0; column < i; ++column) {
      order.push_back(row * (i + 1) + column);
    }
  }
  for (int64_t row = 0; row < o; ++row) order.push_back(row * (i + 1) + i);
  const at::Tensor index = at::tensor(order, at::kLong);
  return at::inverse(c.index_select(0, index).index_select(1, index).add(
      at::eye(o * (i + 1), at::kDouble), regularization));
}

class KroneckerInfluenceTest : public testing::Test {
 protected:
  void SetUp() override {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        provider_,
        CapturingGradientProvider::Create(model_, CrossEntropyLoss(), train_));
  }

  static KroneckerInfluenceOptions Options(
      const Regularization& regularization) {
    KroneckerInfluenceOptions options;
    options.regularization = regularization;
    return options;
  }

  std::unique_ptr<KroneckerInfluence> Fitted(
      const KroneckerInfluenceOptions& options, int64_t batch_size = 7) const {
    auto model = *KroneckerInfluence::Create(provider_, options);
    EXPECT_THAT(model->Fit(AsSequence(train_, batch_size)), IsOk());
    return model;
  }

  std::shared_ptr<const Model> model_ = TanhMlp({4, 5, 3}, at::kDouble, 1);
  std::shared_ptr<const GradientProvider> provider_;
  Batch test_ = SeededClassification(6, 4, 3, at::kDouble, 7);
  Batch train_ = SeededClassification(40, 4, 3, at::kDouble, 8);
};

TEST_F(KroneckerInfluenceTest, EqualsADenseBuildOfTheFormula) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor train,
                                 provider_->FlatGrads(train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor test, provider_->FlatGrads(test_));
  for (const KroneckerMethod method :
       {KroneckerMethod::kKfac, KroneckerMethod::kEkfac}) {
    SCOPED_TRACE(KroneckerMethodName(method));
    KroneckerInfluenceOptions options =
        Options(*Regularization::ByBlock({{"0", 0.01}, {"2", 0.03}}));
    options.method = method;
    const auto model = Fitted(options);
    EXPECT_EQ(model->method(), method);
    EXPECT_EQ(model->covered_share(), 1);
    const at::Tensor first =
        DenseInverseOfLayer(train.narrow(1, 0, 25), 5, 4, method, 0.01);
    const at::Tensor second =
        DenseInverseOfLayer(train.narrow(1, 25, 18), 3, 5, method, 0.03);
    const at::Tensor factors = at::cat({test.narrow(1, 0, 25).matmul(first),
                                        test.narrow(1, 25, 18).matmul(second)},
                                       /*dim=*/1);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor found,
                                   model->InfluenceFactors(test_));
    EXPECT_THAT(found, TensorNear(factors, 1e-8));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                   model->Influences(test_, train_));
    EXPECT_THAT(scores, TensorNear(factors.matmul(train.t()), 1e-8));
  }
}

// 20 samples of layers with a side of 66 or 70: eigenvectors of their span.
TEST_F(KroneckerInfluenceTest, FewSamplesOfWideLayersEqualTheDenseFormula) {
  for (const std::vector<int64_t>& widths :
       {std::vector<int64_t>{70, 5, 3}, std::vector<int64_t>{4, 66, 3}}) {
    model_ = TanhMlp(widths, at::kDouble, 1);
    const int64_t i = widths[0], h = widths[1];
    train_ = SeededClassification(20, i, 3, at::kDouble, 8);
    test_ = SeededClassification(6, i, 3, at::kDouble, 7);
    SetUp();
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor train,
                                   provider_->FlatGrads(train_));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor test,
                                   provider_->FlatGrads(test_));
    const int64_t first_size = h * (i + 1), second_size = 3 * (h + 1);
    for (const KroneckerMethod method :
         {KroneckerMethod::kKfac, KroneckerMethod::kEkfac}) {
      SCOPED_TRACE(absl::StrCat(KroneckerMethodName(method), " ", i, " ", h));
      KroneckerInfluenceOptions options =
          Options(*Regularization::ByBlock({{"0", 0.01}, {"2", 0.03}}));
      options.method = method;
      const auto model = Fitted(options);
      EXPECT_TRUE(model->curvature()->layers[0].is_deficient());
      EXPECT_FALSE(model->curvature()->layers[1].input_covariance.defined());
      const at::Tensor first = DenseInverseOfLayer(
          train.narrow(1, 0, first_size), h, i, method, 0.01);
      const at::Tensor second = DenseInverseOfLayer(
          train.narrow(1, first_size, second_size), 3, h, method, 0.03);
      const auto solved = [&](const at::Tensor& grads) {
        return at::cat(
            {grads.narrow(1, 0, first_size).matmul(first),
             grads.narrow(1, first_size, second_size).matmul(second)},
            /*dim=*/1);
      };
      const at::Tensor factors = solved(test);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor found,
                                     model->InfluenceFactors(test_));
      EXPECT_THAT(found, TensorNear(factors, 1e-8));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                     model->Influences(test_, train_));
      EXPECT_THAT(scores, TensorNear(factors.matmul(train.t()), 1e-8));
      // Queries that the fit has not seen, with what is beside the span.
      EXPECT_THAT(*model->Influences(test_, test_),
                  TensorNear(factors.matmul(test.t()), 1e-8));
      EXPECT_THAT(*model->SelfInfluences(test_),
                  TensorNear(factors.mul(test).sum(1), 1e-8));

      // As many eigenvalues as parameters, zeros among them.
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::vector<at::Tensor> eigenvalues,
                                     model->CurvatureEigenvalues());
      ASSERT_EQ(eigenvalues[0].sizes(), at::IntArrayRef({first_size}));
      EXPECT_EQ(eigenvalues[0].min().item<double>(), 0);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedState state,
                                     model->ExportState());
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const auto restored, KroneckerInfluence::Restore(provider_, state));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor again,
                                     restored->Influences(test_, train_));
      EXPECT_TRUE(again.equal(scores));

      // Without regularization there is no inverse.
      EXPECT_THAT(model->WithRegularization(Constant(0)),
                  StatusIs(kInvalid, HasSubstr("regularization")));
    }
  }
}

// Groups have one array of each kind, of which a depthwise layer had hundreds.
TEST_F(KroneckerInfluenceTest, TheStateOfGroupsIsOneArray) {
  const at::Tensor w = ParameterLike(SeededNormal({8, 1, 3}, at::kDouble, 1));
  const at::Tensor b = ParameterLike(SeededNormal({8}, at::kDouble, 2));
  model_ = std::make_shared<const FunctionModel>(
      std::vector<NamedParameter>{{"conv.weight", w}, {"conv.bias", b}},
      [w, b](const std::vector<at::Tensor>& x) {
        return at::conv1d(x[0].view({-1, 4, 5}), w, b, at::IntArrayRef{1},
                          at::IntArrayRef{0}, at::IntArrayRef{1}, 4)
            .tanh()
            .sum({2});
      });
  train_ = SeededClassification(20, 20, 8, at::kDouble, 8);
  test_ = SeededClassification(6, 20, 8, at::kDouble, 7);
  SetUp();
  const auto model = Fitted(Options(Constant(0.1)));
  ASSERT_EQ(model->curvature()->layers.size(), 4);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedState state, model->ExportState());
  EXPECT_EQ(state.arrays.size(), 6);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor eigenvalues,
      ArrayOfState(state, "conv/eigenvalues", at::kDouble, {4, 2, 4}));
  for (int64_t h = 0; h < 4; ++h) {
    EXPECT_TRUE(
        eigenvalues[h].equal(model->curvature()->layers[h].eigenvalues));
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                 model->Influences(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto restored,
                                 KroneckerInfluence::Restore(provider_, state));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor again,
                                 restored->Influences(test_, train_));
  EXPECT_TRUE(again.equal(scores));
}

TEST_F(KroneckerInfluenceTest, TheLargestFactorSizeIsInReportAndState) {
  KroneckerInfluenceOptions options = Options(Constant(0.1));
  options.max_factor_size = 5;  // Of 5 and 6 inputs with the 1.
  const auto model = Fitted(options);
  EXPECT_TRUE(model->report()[0].remarks.empty());
  EXPECT_THAT(model->report()[1].remarks,
              testing::ElementsAre(
                  "18 of 18 parameters by the diagonal of the Fisher: "
                  "2.weight, 2.bias",
                  "wider than the largest factor size 5: 2.weight, 2.bias"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedState state, model->ExportState());
  EXPECT_EQ(state.options.at("max_factor_size"), "5");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto restored,
                                 KroneckerInfluence::Restore(provider_, state));
  EXPECT_EQ(restored->report()[1].remarks, model->report()[1].remarks);
  options.max_factor_size = -1;
  EXPECT_THAT((*KroneckerInfluence::Create(provider_, options))
                  ->Fit(AsSequence(train_, 7)),
              StatusIs(kInvalid, HasSubstr("max_factor_size: found -1")));
}

TEST_F(KroneckerInfluenceTest, EkfacIsExactWhereItMustBe) {
  // mse with W = 0: g is a multiple of the label. With inputs times labels in
  // full factorial the Fisher is a Kronecker product.
  const at::Tensor w = ParameterLike(at::zeros({2, 3}, at::kDouble));
  const auto linear = std::make_shared<const FunctionModel>(
      std::vector<NamedParameter>{{"layer.weight", w}},
      [w](const std::vector<at::Tensor>& x) { return at::linear(x[0], w); });
  const at::Tensor inputs = SeededNormal({5, 3}, at::kDouble, 3);
  const at::Tensor labels = SeededNormal({4, 2}, at::kDouble, 4);
  const Batch batch = {{inputs.repeat_interleave(4, 0)}, labels.repeat({5, 1})};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      provider_,
      CapturingGradientProvider::Create(linear, MeanSquaredErrorLoss(), batch));
  auto model = *KroneckerInfluence::Create(provider_, Options(Constant(0.05)));
  INFLUENCE_ASSERT_OK(model->Fit(AsSequence(batch, 7)));
  const at::Tensor fisher = DenseGaussNewton(*provider_, batch);
  const at::Tensor expected =
      at::inverse(fisher.add(at::eye(6, at::kDouble), 0.05));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor found, model->inverses()[0]->Apply(at::eye(6, at::kDouble)));
  EXPECT_THAT(found, TensorNear(expected, 1e-10));
}

TEST_F(KroneckerInfluenceTest, DependsOnNoBatchSizeAndNoThreadCount) {
  const KroneckerInfluenceOptions options = Options(Regularization::Auto());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor expected, Fitted(options, 40)->Influences(test_, train_));
  for (const int64_t batch_size : {1, 9}) {
    const auto model = Fitted(options, batch_size);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                   model->Influences(test_, train_));
    EXPECT_THAT(scores, TensorNear(expected, 1e-10));
  }
  const int threads = at::get_num_threads();
  at::set_num_threads(threads == 1 ? 2 : 1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor other, Fitted(options, 40)->Influences(test_, train_));
  at::set_num_threads(threads);
  EXPECT_THAT(other, TensorNear(expected, 1e-10));
}

TEST_F(KroneckerInfluenceTest, PreparedQueriesFactorsAndSelfInfluencesAgree) {
  const auto model = Fitted(Options(Constant(0.02)));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                 model->Influences(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto prepared, model->PrepareQueries(test_));
  EXPECT_THAT(*prepared->Influences(train_), TensorNear(expected, 1e-12));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor factors,
                                 model->InfluenceFactors(test_));
  EXPECT_THAT(*model->InfluencesFromFactors(factors, train_),
              TensorNear(expected, 1e-12));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor square,
                                 model->Influences(test_, test_));
  EXPECT_THAT(*model->SelfInfluences(test_),
              TensorNear(square.diagonal().contiguous(), 1e-12));
}

TEST_F(KroneckerInfluenceTest, AutoIsATenthOfTheMeanSquaredGradient) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor grads,
                                 provider_->FlatGrads(train_));
  const auto model = Fitted(Options(Regularization::Auto()));
  const std::vector<BlockReport> report = model->report();
  ASSERT_EQ(report.size(), 2);
  const double first =
      grads.narrow(1, 0, 25).square().sum(1).mean().item<double>();
  EXPECT_NEAR(*report[0].regularization, 0.1 * first / 25, 1e-12 * first);
  EXPECT_EQ(report[0].block, "0");
  EXPECT_EQ(report[0].size, 25);
  EXPECT_TRUE(report[0].remarks.empty());
}

TEST_F(KroneckerInfluenceTest, AnotherRegularizationEqualsAFreshFit) {
  const auto model = Fitted(Options(Regularization::Auto()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto other,
                                 model->WithRegularization(Constant(0.3)));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                 other->Influences(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor expected,
      Fitted(Options(Constant(0.3)))->Influences(test_, train_));
  EXPECT_THAT(scores, TensorNear(expected, 1e-12));
  EXPECT_EQ(dynamic_cast<const KroneckerInfluence&>(*other).curvature(),
            model->curvature());
  // And back.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      other, other->WithRegularization(Regularization::Auto()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(scores, other->Influences(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(expected, model->Influences(test_, train_));
  EXPECT_TRUE(scores.equal(expected));
  EXPECT_THAT(Fitted(Options(Constant(0.3)))
                  ->WithRegularization(Regularization::Auto()),
              StatusIs(kUnfitted, HasSubstr("found auto")));
}

// One layer of 100 inputs and 60 classes: large enough for a split.
TEST_F(KroneckerInfluenceTest, AScoreToleranceIsReportedAndKeptTo) {
  model_ = TanhMlp({100, 60}, at::kDouble, 1);
  train_ = SeededClassification(150, 100, 60, at::kDouble, 8);
  test_ = SeededClassification(40, 100, 60, at::kDouble, 7);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      provider_,
      CapturingGradientProvider::Create(model_, CrossEntropyLoss(), train_));
  const auto exact = Fitted(Options(Constant(1)));
  EXPECT_EQ(exact->score_tolerance(), 0);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto split,
                                 exact->WithScoreTolerance(0.02));
  EXPECT_EQ(split->score_tolerance(), 0.02);
  EXPECT_EQ(split->curvature(), exact->curvature());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                 exact->Influences(test_, train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                 split->Influences(test_, train_));
  const double error = scores.sub(expected).norm().item<double>();
  EXPECT_GT(error, 1e-9 * expected.norm().item<double>());
  EXPECT_LT(error, 0.02 * expected.norm().item<double>());
  const std::vector<BlockReport> report = split->report();
  ASSERT_EQ(report[0].remarks.size(), 1);
  EXPECT_THAT(report[0].remarks[0], AllOf(HasSubstr("scores contract"),
                                          HasSubstr("(score tolerance 0.02)")));
  KroneckerInfluenceOptions options = Options(Constant(1));
  options.score_tolerance = 0.02;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor fresh,
                                 Fitted(options)->Influences(test_, train_));
  EXPECT_THAT(fresh, TensorNear(scores, 1e-10));
  // It stays with another regularization.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto other,
                                 split->WithRegularization(Constant(1)));
  EXPECT_TRUE(other->Influences(test_, train_)->equal(scores));
}

// A layer with positions, a scale in between, and an own layer of a bias.
class MixedModelTest : public testing::Test {
 protected:
  void SetUp() override {
    const at::Tensor w = ParameterLike(SeededNormal({5, 4}, at::kDouble, 1));
    const at::Tensor b = ParameterLike(SeededNormal({5}, at::kDouble, 2));
    const at::Tensor scale = ParameterLike(SeededNormal({5}, at::kDouble, 3));
    const at::Tensor v = ParameterLike(SeededNormal({3, 5}, at::kDouble, 4));
    model_ = std::make_shared<const FunctionModel>(
        std::vector<NamedParameter>{{"first.weight", w},
                                    {"first.bias", b},
                                    {"scale.weight", scale},
                                    {"last.weight", v}},
        [=](const std::vector<at::Tensor>& x) {
          const at::Tensor h = at::tanh(at::linear(x[0], w, b)).mul(scale);
          return at::linear(h.mean(1), v);  // Over the positions.
        });
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        provider_,
        CapturingGradientProvider::Create(model_, CrossEntropyLoss(), train_));
  }

  std::unique_ptr<KroneckerInfluence> Fitted(UncoveredPolicy uncovered) const {
    KroneckerInfluenceOptions options;
    options.regularization = Constant(0.02);
    options.uncovered = uncovered;
    auto model = *KroneckerInfluence::Create(provider_, options);
    EXPECT_THAT(model->Fit(AsSequence(train_, 7)), IsOk());
    return model;
  }

  static Batch Sequences(int64_t size, uint64_t seed) {
    return {{SeededNormal({size, 2, 4}, at::kDouble, seed)},
            SeededLabels(size, 3, seed + 1)};
  }

  Batch train_ = Sequences(30, 5);
  Batch test_ = Sequences(4, 9);
  std::shared_ptr<const Model> model_;
  std::shared_ptr<const GradientProvider> provider_;
};

TEST_F(MixedModelTest, OtherParametersHaveTheDiagonalOrAreLeftOut) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor grads,
                                 provider_->FlatGrads(train_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor test, provider_->FlatGrads(test_));
  const auto diagonal = Fitted(UncoveredPolicy::kDiagonal);
  EXPECT_DOUBLE_EQ(diagonal->covered_share(), 40.0 / 45);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(TensorMap factors,
                                 diagonal->InfluenceFactorsByBlock(test_));
  const at::Tensor divisor = grads.narrow(1, 25, 5).square().mean(0).add(0.02);
  EXPECT_THAT(*factors.Find("scale"),
              TensorNear(test.narrow(1, 25, 5).div(divisor), 1e-10));
  EXPECT_THAT(
      diagonal->report()[1].remarks,
      testing::ElementsAre("5 of 5 parameters by the diagonal of the Fisher: "
                           "scale.weight"));

  const auto dropped = Fitted(UncoveredPolicy::kDrop);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(TensorMap without,
                                 dropped->InfluenceFactorsByBlock(test_));
  EXPECT_EQ(without.Find("scale")->abs().max().item<double>(), 0);
  EXPECT_THAT(*without.Find("first"),
              TensorNear(*factors.Find("first"), 1e-10));
  EXPECT_THAT(dropped->report()[1].remarks,
              testing::ElementsAre("5 of 5 parameters left out: scale.weight"));

  // Scores are the factors' products with the gradients.
  for (const auto* model : {diagonal.get(), dropped.get()}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor flat,
                                   model->InfluenceFactors(test_));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                   model->Influences(test_, train_));
    EXPECT_THAT(scores, TensorNear(flat.matmul(grads.t()), 1e-12));
  }

  KroneckerInfluenceOptions options;
  options.uncovered = UncoveredPolicy::kError;
  auto refusing = *KroneckerInfluence::Create(provider_, options);
  EXPECT_THAT(refusing->Fit(AsSequence(train_, 7)),
              StatusIs(kInvalid, HasSubstr("scale.weight")));
}

TEST_F(MixedModelTest, IsRestoredFromItsState) {
  for (const UncoveredPolicy uncovered :
       {UncoveredPolicy::kDiagonal, UncoveredPolicy::kDrop}) {
    const auto model = Fitted(uncovered);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedState state,
                                   model->ExportState());
    EXPECT_EQ(state.method, "ekfac");
    EXPECT_THAT(
        ArrayOfState(state, "first/input_eigenvectors", at::kDouble, {5, 5}),
        IsOk());
    EXPECT_THAT(ArrayOfState(state, "last/eigenvalues", at::kDouble, {3, 5}),
                IsOk());
    EXPECT_EQ(
        ArrayOfState(state, "scale.weight/diagonal", at::kDouble, {5}).ok(),
        uncovered == UncoveredPolicy::kDiagonal);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const auto restored, KroneckerInfluence::Restore(provider_, state));
    EXPECT_EQ(restored->num_fitted_samples(), 30);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                   model->Influences(test_, train_));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                   restored->Influences(test_, train_));
    EXPECT_TRUE(scores.equal(expected));
    EXPECT_EQ(restored->report()[1].remarks, model->report()[1].remarks);
    // Once more, to the same state.
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedState again,
                                   restored->ExportState());
    EXPECT_EQ(again.options, state.options);
    ASSERT_EQ(again.arrays.size(), state.arrays.size());
    for (size_t a = 0; a < state.arrays.size(); ++a) {
      EXPECT_EQ(again.arrays[a].name, state.arrays[a].name);
      EXPECT_TRUE(again.arrays[a].values.equal(state.arrays[a].values));
    }
  }
}

TEST_F(MixedModelTest, RefusesAStateThatDoesNotFit) {
  const auto model = Fitted(UncoveredPolicy::kDiagonal);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedState state, model->ExportState());
  const auto restore = [&](const FittedState& changed) {
    return KroneckerInfluence::Restore(provider_, changed).status();
  };
  const auto find = [](FittedState& changed, const std::string& name) {
    for (size_t a = 0; a < changed.arrays.size(); ++a) {
      if (changed.arrays[a].name == name) return changed.arrays.begin() + a;
    }
    ADD_FAILURE() << "no array " << name;
    return changed.arrays.begin();
  };
  FittedState bad = state;
  bad.method = "direct";
  EXPECT_THAT(restore(bad), StatusIs(kInvalid, HasSubstr("method direct")));
  for (const std::string option : {"fisher", "uncovered", "max_factor_size",
                                   "seed", "score_tolerance", "dropped"}) {
    bad = state;
    bad.options.erase(option);
    EXPECT_THAT(restore(bad),
                StatusIs(kInvalid, HasSubstr("no option " + option)));
  }
  bad = state;
  bad.options["seed"] = "-1";
  EXPECT_THAT(restore(bad), StatusIs(kInvalid, HasSubstr("seed: found '-1'")));
  bad = state;
  bad.options["score_tolerance"] = "2";
  EXPECT_THAT(restore(bad), StatusIs(kInvalid, HasSubstr("score_tolerance")));
  bad = state;
  bad.regularization.pop_back();
  EXPECT_THAT(restore(bad), StatusIs(kInvalid, HasSubstr("regularizations")));
  for (const std::string name :
       {"first/input_eigenvectors", "first/gradient_eigenvectors",
        "first/input_eigenvalues", "first/gradient_eigenvalues",
        "first/eigenvalues"}) {
    bad = state;
    bad.arrays.erase(find(bad, name));
    EXPECT_THAT(restore(bad),
                StatusIs(kInvalid, HasSubstr("no array " + name)));
    bad = state;
    at::Tensor& values = find(bad, name)->values;
    values = values.narrow(0, 0, 2).contiguous();
    EXPECT_THAT(restore(bad), StatusIs(kInvalid, HasSubstr("found shape [")));
  }
  // Without its layout or its diagonal a parameter is not covered.
  for (const std::string name : {"first/layout", "scale.weight/diagonal"}) {
    bad = state;
    bad.arrays.erase(find(bad, name));
    EXPECT_THAT(restore(bad), StatusIs(kInvalid, HasSubstr("cover")));
  }
  bad = state;
  find(bad, "first/layout")->values = at::tensor({9, 0, 0, -1, 0}, at::kLong);
  EXPECT_THAT(restore(bad), StatusIs(kInvalid, HasSubstr("first/layout")));
}

TEST_F(KroneckerInfluenceTest, GivesAllEigenvaluesInFallingOrder) {
  const auto model = Fitted(Options(Constant(0.1)));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::vector<at::Tensor> eigenvalues,
                                 model->CurvatureEigenvalues());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor grads,
                                 provider_->FlatGrads(train_));
  ASSERT_EQ(eigenvalues.size(), 2);
  ASSERT_EQ(eigenvalues[0].sizes(), at::IntArrayRef({25}));
  EXPECT_TRUE(eigenvalues[0].diff().le(0).all().item<bool>());
  // EKFAC keeps the Fisher's trace.
  EXPECT_NEAR(eigenvalues[0].sum().item<double>(),
              grads.narrow(1, 0, 25).square().sum(1).mean().item<double>(),
              1e-10);
}

TEST_F(KroneckerInfluenceTest, NeedsAFit) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto model,
                                 KroneckerInfluence::Create(provider_));
  EXPECT_FALSE(model->is_fitted());
  EXPECT_EQ(model->curvature(), nullptr);
  EXPECT_EQ(model->covered_share(), 0);
  EXPECT_TRUE(model->report().empty());
  EXPECT_THAT(model->Influences(test_, train_),
              StatusIs(kUnfitted, testing::_));
  EXPECT_THAT(model->WithRegularization(Constant(1)),
              StatusIs(kUnfitted, testing::_));
  EXPECT_THAT(model->WithScoreTolerance(0.1), StatusIs(kUnfitted, testing::_));
  EXPECT_THAT(model->CurvatureEigenvalues(), StatusIs(kUnfitted, testing::_));
  EXPECT_THAT(model->ExportState(), StatusIs(kUnfitted, testing::_));
}

TEST_F(KroneckerInfluenceTest, RefusesBadArguments) {
  EXPECT_THAT(KroneckerInfluence::Create(nullptr),
              StatusIs(kInvalid, HasSubstr("provider")));
  KroneckerInfluenceOptions options;
  options.score_tolerance = 1;
  EXPECT_THAT(KroneckerInfluence::Create(provider_, options),
              StatusIs(kInvalid, HasSubstr("score_tolerance: found 1")));
  options = Options(*Regularization::ByBlock({{"9", 1.0}}));
  EXPECT_THAT(KroneckerInfluence::Create(provider_, options),
              StatusIs(kInvalid, HasSubstr("unknown block 9")));
  // Fewer samples than parameters.
  options = Options(Constant(0));
  auto model = *KroneckerInfluence::Create(provider_, options);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch few, SliceBatch(train_, 0, 2));
  EXPECT_THAT(model->Fit(AsSequence(few, 2)),
              StatusIs(kInvalid, AllOf(HasSubstr("block 0"),
                                       HasSubstr("--regularization"))));
}

}  // namespace
}  // namespace influence
