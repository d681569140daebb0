// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/spectrum.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "influence/composable_influence.h"
#include "influence/regularization.h"
#include "operators/operator.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

class DiagonalOperator : public Operator {
 public:
  explicit DiagonalOperator(at::Tensor factors)
      : factors_(std::move(factors)) {}

  int64_t input_size() const override { return factors_.size(0); }

 protected:
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override {
    return matrix.mul(factors_);
  }

 private:
  at::Tensor factors_;
};

// C = diag(d) in one block.
class DiagonalInfluence : public ComposableInfluence {
 public:
  DiagonalInfluence(std::shared_ptr<const GradientProvider> provider,
                    at::Tensor diagonal)
      : ComposableInfluence(
            provider,
            ParameterBlocks::Create(provider->model(), BlockStructure::kFull),
            std::nullopt),
        diagonal_(std::move(diagonal)) {}

  bool is_thread_safe() const override { return true; }
  std::vector<BlockReport> report() const override { return {}; }

  absl::StatusOr<std::vector<at::Tensor>> CurvatureEigenvalues()
      const override {
    return std::vector<at::Tensor>{
        std::get<0>(diagonal_.sort(/*dim=*/0, /*descending=*/true))};
  }

  absl::StatusOr<std::unique_ptr<ComposableInfluence>> WithRegularization(
      const Regularization& regularization) const override {
    auto other = std::make_unique<DiagonalInfluence>(*this);
    INFLUENCE_ASSIGN_OR_RETURN(const std::vector<double> values,
                               regularization.Resolve(blocks()));
    INFLUENCE_RETURN_IF_ERROR(
        other->SetOperators({std::make_shared<const DiagonalOperator>(
                                diagonal_.add(values[0]).reciprocal())},
                            1));
    return other;
  }

 protected:
  absl::StatusOr<std::vector<std::shared_ptr<const Operator>>> FitOperators(
      std::shared_ptr<const BatchSequence> /*data*/,
      ProgressReporter* /*progress*/) override {
    return absl::UnimplementedError("fit");
  }

 private:
  at::Tensor diagonal_;
};

// Gradients are the inputs: f(x) = w . x, loss = f.
class SpectrumTest : public testing::Test {
 protected:
  void SetUp() override {
    const at::Tensor w = ParameterLike(at::zeros({3}, at::kDouble));
    const PerSampleFunction loss(
        "output", /*higher_is_better=*/false,
        [](const at::Tensor& output, const at::Tensor& /*y*/) {
          return output;
        });
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        provider_,
        AutogradGradientProvider::Create(
            std::make_shared<FunctionModel>(
                std::vector<NamedParameter>{{"w", w}},
                [w](const std::vector<at::Tensor>& x) { return x[0].mv(w); }),
            loss));
  }

  static TensorBatchSequence Data(const at::Tensor& x, int64_t batch_size) {
    return *TensorBatchSequence::Create(
        {{x}, at::zeros({x.size(0)}, at::kDouble)}, batch_size);
  }

  std::shared_ptr<const GradientProvider> provider_;
};

TEST_F(SpectrumTest, SummarizesTheEigenvaluesOfABlock) {
  const DiagonalInfluence model(provider_,
                                at::tensor({0.5, -0.25, 2.0}, at::kDouble));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::vector<BlockSpectrum> spectra,
                                 FindSpectrum(model, {0.5, 0, 1.5}));
  ASSERT_EQ(spectra.size(), 1);
  const BlockSpectrum& spectrum = spectra[0];
  EXPECT_EQ(spectrum.block, "full");
  EXPECT_EQ(spectrum.size, 3);
  EXPECT_THAT(spectrum.eigenvalues,
              TensorNear(at::tensor({2.0, 0.5, -0.25}, at::kDouble), 0));
  EXPECT_EQ(spectrum.largest, 2);
  EXPECT_EQ(spectrum.smallest, -0.25);
  EXPECT_EQ(spectrum.mean, 0.75);
  EXPECT_EQ(spectrum.num_negative, 1);
  ASSERT_EQ(spectrum.effects.size(), 3);
  EXPECT_EQ(spectrum.effects[0].regularization, 0.5);
  EXPECT_DOUBLE_EQ(spectrum.effects[0].effective_dimension,
                   2.0 / 2.5 + 0.5 / 1.0);
  EXPECT_EQ(spectrum.effects[0].num_above, 1);
  // 0 / (0 + 0) of the negative one counts as 0.
  EXPECT_EQ(spectrum.effects[1].effective_dimension, 2);
  EXPECT_EQ(spectrum.effects[1].num_above, 2);
  EXPECT_EQ(spectrum.effects[2].num_above, 1);
}

TEST_F(SpectrumTest, ABlockWithoutEigenvaluesIsEmpty) {
  const DiagonalInfluence model(provider_, at::empty({0}, at::kDouble));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::vector<BlockSpectrum> spectra,
                                 FindSpectrum(model, {0.5}));
  EXPECT_EQ(spectra[0].largest, 0);
  EXPECT_EQ(spectra[0].mean, 0);
  EXPECT_EQ(spectra[0].effects[0].effective_dimension, 0);
}

TEST_F(SpectrumTest, SensitivityIsThatOfTheScoresByQuery) {
  const DiagonalInfluence model(provider_,
                                at::tensor({1.0, 0.0, 0.0}, at::kDouble));
  // S = q1 x1 / (1 + lambda) + q2 x2 / lambda.
  const at::Tensor queries =
      at::tensor({1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0}, at::kDouble)
          .view({3, 3});
  const at::Tensor samples =
      at::tensor({1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 2.0, 0.5, 0.0, 0.25, 1.0, 0.0},
                 at::kDouble)
          .view({4, 3});
  for (const int64_t batch_size : {1, 3, 10}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const std::vector<ScoreSensitivity> steps,
        FindScoreSensitivity(model, {1, 0.25, 0.25}, Data(queries, batch_size),
                             Data(samples, batch_size)));
    ASSERT_EQ(steps.size(), 2);
    EXPECT_EQ(steps[0].regularization, 1);
    EXPECT_EQ(steps[0].next_regularization, 0.25);
    // Query 0: scores (1, 0, 2, 1/4) / (1 + lambda): proportional. Query 1:
    // (1/2, 1, 3/2, 9/8) and (4/5, 4, 18/5, 21/5), ranks (0, 1, 3, 2) and
    // (0, 2, 1, 3). Query 2 has scores of zero and does not count.
    // Spearman of query 1: 1 - 6 (1 + 4 + 1) / (4 * 15) = 0.4.
    ASSERT_TRUE(steps[0].spearman.has_value());
    EXPECT_NEAR(*steps[0].spearman, (1 + 0.4) / 2, 1e-12);
    const at::Tensor a = at::tensor({0.5, 1.0, 1.5, 1.125}, at::kDouble);
    const at::Tensor b = at::tensor({0.8, 4.0, 3.6, 4.2}, at::kDouble);
    const at::Tensor ca = a.sub(a.mean());
    const at::Tensor cb = b.sub(b.mean());
    const double pearson =
        ca.dot(cb).div(ca.norm().mul(cb.norm())).item<double>();
    EXPECT_NEAR(*steps[0].pearson, (1 + pearson) / 2, 1e-12);
    const at::Tensor c = at::tensor({1.0, 0.0, 2.0, 0.25}, at::kDouble);
    const double change =
        std::sqrt((c.mul(0.8 - 0.5).square().sum().item<double>() +
                   b.sub(a).square().sum().item<double>()) /
                  (c.mul(0.5).square().sum().item<double>() +
                   a.square().sum().item<double>()));
    EXPECT_NEAR(steps[0].relative_change, change, 1e-12);
    // The same value twice.
    EXPECT_NEAR(*steps[1].spearman, 1, 1e-12);
    EXPECT_NEAR(*steps[1].pearson, 1, 1e-12);
    EXPECT_EQ(steps[1].relative_change, 0);
  }
}

TEST_F(SpectrumTest, EqualScoresShareTheirRank) {
  const DiagonalInfluence model(provider_,
                                at::tensor({1.0, 0.0, 0.0}, at::kDouble));
  // lambda 1: (1/2, 1/2, 1); lambda 1/4: (4/5, 2, 4): ranks (0.5, 0.5, 2) and
  // (0, 1, 2).
  const at::Tensor samples =
      at::tensor({1.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 1.0, 0.0}, at::kDouble)
          .view({3, 3});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::vector<ScoreSensitivity> steps,
      FindScoreSensitivity(
          model, {1, 0.25},
          Data(at::tensor({1.0, 1.0, 0.0}, at::kDouble).view({1, 3}), 1),
          Data(samples, 3)));
  EXPECT_NEAR(*steps[0].spearman, std::sqrt(0.75), 1e-12);
}

TEST_F(SpectrumTest, NoCorrelationWhereAllScoresAreEqual) {
  const DiagonalInfluence model(provider_,
                                at::tensor({1.0, 0.0, 0.0}, at::kDouble));
  const auto data = Data(at::zeros({2, 3}, at::kDouble), 2);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::vector<ScoreSensitivity> steps,
      FindScoreSensitivity(model, {1, 0.25}, data, data));
  EXPECT_FALSE(steps[0].spearman.has_value());
  EXPECT_FALSE(steps[0].pearson.has_value());
  EXPECT_EQ(steps[0].relative_change, 0);
}

TEST_F(SpectrumTest, RefusesBadArguments) {
  const DiagonalInfluence model(provider_,
                                at::tensor({1.0, 0.0, 0.0}, at::kDouble));
  const auto data = Data(at::zeros({2, 3}, at::kDouble), 2);
  EXPECT_THAT(FindSpectrum(model, {-1}),
              StatusIs(kInvalid, HasSubstr("regularization: found -1")));
  EXPECT_THAT(
      FindScoreSensitivity(model, {1, std::numeric_limits<double>::infinity()},
                           data, data),
      StatusIs(kInvalid, HasSubstr("regularization: found inf")));
  EXPECT_THAT(FindScoreSensitivity(model, {1}, data, data),
              StatusIs(kInvalid, HasSubstr("found 1, expected two or more")));
}

}  // namespace
}  // namespace influence
