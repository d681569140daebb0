// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/fisher_gradients.h"

#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "base/counter_based_random.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kSeed = 5;

std::shared_ptr<const GradientProvider> Provider(
    const std::shared_ptr<const Model>& model, const PerSampleFunction& loss,
    const Batch& batch) {
  absl::StatusOr<std::shared_ptr<const CapturingGradientProvider>> provider =
      CapturingGradientProvider::Create(model, loss, batch);
  EXPECT_THAT(provider, IsOk());
  return *provider;
}

// By plain autograd, so that it shares nothing with what is tested.
at::Tensor Gradients(const std::shared_ptr<const Model>& model,
                     const PerSampleFunction& loss, const Batch& batch) {
  absl::StatusOr<std::shared_ptr<const AutogradGradientProvider>> provider =
      AutogradGradientProvider::Create(model, loss);
  EXPECT_THAT(provider, IsOk());
  absl::StatusOr<at::Tensor> gradients = (*provider)->FlatGrads(batch);
  EXPECT_THAT(gradients, IsOk());
  return *std::move(gradients);
}

// sum over the terms and samples of g g^T.
at::Tensor SumOfOuterProducts(const FisherGradients& fisher,
                              const Batch& batch) {
  at::Tensor sum;
  for (int64_t term = 0; term < fisher.num_terms(); ++term) {
    absl::StatusOr<FactoredGradients> gradients = fisher.Get(term, batch, 0);
    EXPECT_THAT(gradients, IsOk());
    absl::StatusOr<at::Tensor> flat = gradients->Flatten();
    EXPECT_THAT(flat, IsOk());
    const at::Tensor product = flat->t().matmul(*flat);
    sum = sum.defined() ? sum.add(product) : product;
  }
  return sum;
}

TEST(FisherGradientsTest, NamesAreReadBack) {
  for (const Fisher fisher :
       {Fisher::kEmpirical, Fisher::kExact, Fisher::kSampled}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const Fisher parsed,
                                   ParseFisher(FisherName(fisher)));
    EXPECT_EQ(parsed, fisher);
  }
  EXPECT_THAT(ParseFisher("true"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("fisher: found \"true\", expected one of "
                                 "empirical, exact, sampled")));
}

TEST(FisherGradientsTest, EmpiricalIsOfTheTrueLabels) {
  const auto model = TanhMlp({4, 3, 3}, at::kDouble, 1);
  const Batch batch = SeededClassification(5, 4, 3, at::kDouble, 2);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const FisherGradients fisher,
      FisherGradients::Create(Fisher::kEmpirical,
                              Provider(model, CrossEntropyLoss(), batch),
                              batch));
  EXPECT_EQ(fisher.num_terms(), 1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients gradients,
                                 fisher.Get(0, batch, 0));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor flat, gradients.Flatten());
  EXPECT_THAT(flat,
              TensorNear(Gradients(model, CrossEntropyLoss(), batch), 1e-10));
  EXPECT_THAT(fisher.Get(1, batch, 0),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("term: found 1, expected a value in [0, 1)")));
}

TEST(FisherGradientsTest, ExactIsTheGeneralizedGaussNewtonMatrix) {
  const auto model = TanhMlp({4, 3, 3}, at::kDouble, 1);
  const Batch classes = SeededClassification(5, 4, 3, at::kDouble, 2);
  Batch binary = classes;
  binary.y = SeededNormal({5, 3}, at::kDouble, 3).gt(0).to(at::kDouble);
  for (const bool is_binary : {false, true}) {
    const PerSampleFunction loss =
        is_binary ? BinaryCrossEntropyWithLogitsLoss() : CrossEntropyLoss();
    const Batch& batch = is_binary ? binary : classes;
    const auto provider = Provider(model, loss, batch);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const FisherGradients fisher,
        FisherGradients::Create(Fisher::kExact, provider, batch));
    EXPECT_EQ(fisher.num_terms(), 3);
    at::Tensor expected = DenseGeneralizedGaussNewton(*provider, batch).mul(5);
    // The mean over 3 elements divides each gradient by 3, and so the Fisher
    // by 9; the Hessian of the mean loss, only by 3.
    if (is_binary) expected = expected.div(3);
    EXPECT_THAT(SumOfOuterProducts(fisher, batch), TensorNear(expected, 1e-10));
  }
}

TEST(FisherGradientsTest, SampledDrawsByInverseOfTheDistribution) {
  // The labels drawn here, one sample at a time, from the stated generator.
  const auto model = TanhMlp({4, 3, 3}, at::kDouble, 1);
  Batch batch = SeededClassification(40, 4, 3, at::kDouble, 2);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor output,
                                 model->Forward(batch.x));
  const at::Tensor p = output.detach().softmax(1);
  constexpr int64_t kFirst = 1000;
  Batch drawn = batch;
  drawn.y = at::zeros({40}, at::kLong);
  for (int64_t n = 0; n < 40; ++n) {
    double u = UniformAt(kSeed, static_cast<uint64_t>(kFirst + n), 0);
    int64_t label = 0;
    while (label < 2 && u >= p[n][label].item<double>()) {
      u -= p[n][label++].item<double>();
    }
    drawn.y[n] = label;
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const FisherGradients fisher,
      FisherGradients::Create(Fisher::kSampled,
                              Provider(model, CrossEntropyLoss(), batch), batch,
                              kSeed));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients gradients,
                                 fisher.Get(0, batch, kFirst));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor flat, gradients.Flatten());
  EXPECT_THAT(flat,
              TensorNear(Gradients(model, CrossEntropyLoss(), drawn), 1e-10));
  // A part of the samples, told where it begins, has the same labels.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch part, SliceBatch(batch, 7, 11));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients of_part,
                                 fisher.Get(0, part, kFirst + 7));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor rows, of_part.Flatten());
  EXPECT_THAT(rows, TensorNear(flat.narrow(0, 7, 4), 1e-10));
}

// Logits [N, T, K] of x [N, T, I].
std::shared_ptr<const Model> SequenceModel() {
  const at::Tensor w = ParameterLike(SeededNormal({4, 3}, at::kDouble, 1));
  return std::make_shared<FunctionModel>(
      std::vector<NamedParameter>{{"w", w}},
      [w](const std::vector<at::Tensor>& x) { return at::linear(x[0], w); });
}

TEST(FisherGradientsTest, SampledDrawsForEachTokenThatIsNotIgnored) {
  const auto model = SequenceModel();
  Batch batch{{SeededNormal({6, 5, 3}, at::kDouble, 2)},
              at::zeros({6, 5}, at::kLong)};
  batch.y[2][3] = -100;
  batch.y[4][0] = -100;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor output,
                                 model->Forward(batch.x));
  const at::Tensor p = output.detach().softmax(2);
  Batch drawn = batch;
  drawn.y = batch.y.clone();
  for (int64_t n = 0; n < 6; ++n) {
    for (int64_t t = 0; t < 5; ++t) {
      if (batch.y[n][t].item<int64_t>() == -100) continue;
      double u =
          UniformAt(kSeed, static_cast<uint64_t>(n), static_cast<uint64_t>(t));
      int64_t label = 0;
      while (label < 3 && u >= p[n][t][label].item<double>()) {
        u -= p[n][t][label++].item<double>();
      }
      drawn.y[n][t] = label;
    }
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const FisherGradients fisher,
      FisherGradients::Create(Fisher::kSampled,
                              Provider(model, CrossEntropyLoss(), batch), batch,
                              kSeed));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients gradients,
                                 fisher.Get(0, batch, 0));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor flat, gradients.Flatten());
  EXPECT_THAT(flat,
              TensorNear(Gradients(model, CrossEntropyLoss(), drawn), 1e-10));
}

// The classes second, with as many positions as classes: the same labels, and
// so the same gradients and curvature as with the classes last.
TEST(FisherGradientsTest, TheLayoutOfTheLogitsChangesNothing) {
  const at::Tensor w = ParameterLike(SeededNormal({4, 3}, at::kDouble, 1));
  const auto make = [w](bool second) {
    return std::make_shared<FunctionModel>(
        std::vector<NamedParameter>{{"w", w}},
        [w, second](const std::vector<at::Tensor>& x) {
          const at::Tensor logits = at::linear(x[0], w);
          return second ? logits.transpose(1, 2) : logits;
        });
  };
  Batch batch{{SeededNormal({6, 4, 3}, at::kDouble, 2)},
              SeededLabels(24, 4, 3).view({6, 4})};
  batch.y[2][3] = -100;
  std::vector<at::Tensor> gradients;
  std::vector<at::Tensor> curvatures;
  for (const bool second : {false, true}) {
    const PerSampleFunction loss =
        CrossEntropyLoss({.layout = second ? LogitsLayout::kClassesSecond
                                           : LogitsLayout::kClassesLast});
    const auto provider = Provider(make(second), loss, batch);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const FisherGradients fisher,
        FisherGradients::Create(Fisher::kSampled, provider, batch, kSeed));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients found,
                                   fisher.Get(0, batch, 0));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor flat, found.Flatten());
    gradients.push_back(flat);
    curvatures.push_back(DenseGeneralizedGaussNewton(*provider, batch));
  }
  EXPECT_THAT(gradients[1], TensorNear(gradients[0], 1e-14));
  EXPECT_THAT(curvatures[1], TensorNear(curvatures[0], 1e-14));
}

TEST(FisherGradientsTest, SampledDrawsABinaryLabelForEachElement) {
  const auto model = TanhMlp({4, 3}, at::kDouble, 1);
  const Batch batch{{SeededNormal({30, 4}, at::kDouble, 2)},
                    at::zeros({30, 3}, at::kDouble)};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor output,
                                 model->Forward(batch.x));
  Batch drawn = batch;
  drawn.y = at::zeros({30, 3}, at::kDouble);
  for (int64_t n = 0; n < 30; ++n) {
    for (int64_t e = 0; e < 3; ++e) {
      const double p = 1 / (1 + std::exp(-output[n][e].item<double>()));
      const double u =
          UniformAt(kSeed, static_cast<uint64_t>(n), static_cast<uint64_t>(e));
      drawn.y[n][e] = u < p ? 1.0 : 0.0;
    }
  }
  const PerSampleFunction loss = BinaryCrossEntropyWithLogitsLoss();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const FisherGradients fisher,
      FisherGradients::Create(Fisher::kSampled, Provider(model, loss, batch),
                              batch, kSeed));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients gradients,
                                 fisher.Get(0, batch, 0));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor flat, gradients.Flatten());
  EXPECT_THAT(flat, TensorNear(Gradients(model, loss, drawn), 1e-10));
}

TEST(FisherGradientsTest, RefusesLossesWithoutProbabilities) {
  const auto model = TanhMlp({4, 3}, at::kDouble, 1);
  const Batch batch{{SeededNormal({5, 4}, at::kDouble, 2)},
                    SeededNormal({5, 3}, at::kDouble, 3)};
  const auto provider = Provider(model, MeanSquaredErrorLoss(), batch);
  for (const Fisher fisher : {Fisher::kExact, Fisher::kSampled}) {
    EXPECT_THAT(FisherGradients::Create(fisher, provider, batch),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("with loss mse, expected loss "
                                   "cross_entropy or")));
  }
  INFLUENCE_EXPECT_OK(
      FisherGradients::Create(Fisher::kEmpirical, provider, batch));
}

TEST(FisherGradientsTest, ExactRefusesSequences) {
  const auto model = SequenceModel();
  const Batch batch{{SeededNormal({6, 5, 3}, at::kDouble, 2)},
                    at::zeros({6, 5}, at::kLong)};
  EXPECT_THAT(
      FisherGradients::Create(
          Fisher::kExact, Provider(model, CrossEntropyLoss(), batch), batch),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("fisher: found exact with 3 dimensions")));
}

TEST(FisherGradientsTest, ChecksTheTrueLabelsWhateverTheFisher) {
  const auto model = TanhMlp({4, 3}, at::kDouble, 1);
  const Batch batch = SeededClassification(5, 4, 3, at::kDouble, 2);
  const auto provider = Provider(model, CrossEntropyLoss(), batch);
  Batch bad = batch;
  bad.y = batch.y.clone();
  bad.y[3] = 3;
  for (const Fisher kind :
       {Fisher::kEmpirical, Fisher::kExact, Fisher::kSampled}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const FisherGradients fisher,
        FisherGradients::Create(kind, provider, batch));
    EXPECT_THAT(fisher.Get(0, bad, 0),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("labels: found value 3 at sample 3")));
  }
}

}  // namespace
}  // namespace influence
