// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/regularization.h"

#include <limits>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

class RegularizationTest : public testing::Test {
 protected:
  std::shared_ptr<const Model> model_ = TanhMlp({3, 4, 2}, at::kDouble, 1);
  ParameterBlocks layers_ =
      ParameterBlocks::Create(*model_, BlockStructure::kLayer);  // "0", "2"
};

TEST_F(RegularizationTest, OneValueServesAllBlocks) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(Regularization regularization,
                                 Regularization::Parse("1e-3"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(std::vector<double> values,
                                 regularization.Resolve(layers_));
  EXPECT_THAT(values, ElementsAre(1e-3, 1e-3));
  EXPECT_EQ(regularization.ToString(), "0.001");
}

TEST_F(RegularizationTest, ValuesByBlockAreMatchedByName) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(Regularization regularization,
                                 Regularization::Parse("2=0.25,0=0"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(std::vector<double> values,
                                 regularization.Resolve(layers_));
  EXPECT_THAT(values, ElementsAre(0, 0.25));
  EXPECT_EQ(regularization.ToString(), "2=0.25,0=0");
}

TEST_F(RegularizationTest, ValuesByBlockMustFitTheBlocks) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(Regularization missing,
                                 Regularization::Parse("0=1"));
  EXPECT_THAT(missing.Resolve(layers_),
              StatusIs(kInvalid, HasSubstr("no value for block 2")));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(Regularization unknown,
                                 Regularization::Parse("0=1,2=1,4=1"));
  EXPECT_THAT(unknown.Resolve(layers_),
              StatusIs(kInvalid,
                       AllOf(HasSubstr("unknown block 4"), HasSubstr("0, 2"))));
}

TEST_F(RegularizationTest, AutoIsTheDefaultAndReadBack) {
  EXPECT_TRUE(Regularization().is_auto());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(Regularization parsed,
                                 Regularization::Parse("auto"));
  EXPECT_TRUE(parsed.is_auto());
  EXPECT_EQ(parsed.ToString(), "auto");
}

TEST_F(RegularizationTest, RefusesOtherTextsAndValues) {
  for (const char* text :
       {"", "automatic", "=1", "0=", "0=a", "0=1,,2=1", "1e-3x"}) {
    EXPECT_THAT(Regularization::Parse(text),
                StatusIs(kInvalid, HasSubstr("regularization: found")))
        << '"' << text << '"';
  }
  for (const char* text : {"-1", "nan", "inf"}) {
    EXPECT_THAT(Regularization::Parse(text),
                StatusIs(kInvalid, HasSubstr("regularization: found")))
        << '"' << text << '"';
  }
  EXPECT_THAT(Regularization::Parse("0=1,2=-1"),
              StatusIs(kInvalid, HasSubstr("block 2: found -1")));
  EXPECT_THAT(Regularization::ByBlock({{"0", 1}, {"0", 2}}),
              StatusIs(kInvalid, HasSubstr("block 0 twice")));
  EXPECT_THAT(Regularization::Constant(std::numeric_limits<double>::infinity()),
              StatusIs(kInvalid, HasSubstr("regularization")));
}

TEST_F(RegularizationTest, TextKeepsEveryDigit) {
  const double value = 0.1 + 0.2;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(Regularization regularization,
                                 Regularization::Constant(value));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      Regularization parsed, Regularization::Parse(regularization.ToString()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(std::vector<double> values,
                                 parsed.Resolve(layers_));
  EXPECT_EQ(values[0], value);
}

TEST_F(RegularizationTest, AutoIsATenthOfTheMeanDiagonalOfGaussNewton) {
  const Batch batch = SeededClassification(7, 3, 2, at::kDouble, 2);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto provider,
      AutogradGradientProvider::Create(model_, CrossEntropyLoss()));
  const at::Tensor diagonal = DenseGaussNewton(*provider, batch).diagonal();
  std::vector<at::Tensor> matrices;
  for (const ParameterBlock& block : layers_.blocks()) {
    matrices.push_back(DenseGaussNewton(*provider, batch)
                           .narrow(0, block.offset, block.size)
                           .narrow(1, block.offset, block.size));
  }
  for (const int64_t batch_size : {7, 3, 1}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        auto data, TensorBatchSequence::Create(batch, batch_size));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        std::vector<double> values,
        AutoRegularization(*provider, layers_, data));
    ASSERT_EQ(values.size(), 2);
    for (size_t b = 0; b < 2; ++b) {
      const ParameterBlock& block = layers_.blocks()[b];
      const double expected =
          0.1 *
          diagonal.narrow(0, block.offset, block.size).mean().item<double>();
      EXPECT_NEAR(values[b], expected, 1e-14 * expected);
    }
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        std::vector<double> from_matrices,
        AutoRegularizationFromGaussNewton(layers_, matrices, 2.3e-16));
    EXPECT_THAT(from_matrices,
                testing::Pointwise(testing::DoubleNear(1e-15), values));
  }
}

TEST_F(RegularizationTest, AutoIsZeroForABlockWhoseGradientsAreZero) {
  const at::Tensor unused = ParameterLike(at::zeros({2}, at::kDouble));
  const at::Tensor w = ParameterLike(SeededNormal({2, 3}, at::kDouble, 1));
  const auto model = std::make_shared<const FunctionModel>(
      std::vector<NamedParameter>{{"used.w", w}, {"dead.w", unused}},
      [w](const std::vector<at::Tensor>& x) { return x[0].matmul(w.t()); });
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto provider,
      AutogradGradientProvider::Create(model, CrossEntropyLoss()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto data, TensorBatchSequence::Create(
                     SeededClassification(4, 3, 2, at::kDouble, 2), 4));
  const ParameterBlocks blocks =
      ParameterBlocks::Create(*model, BlockStructure::kLayer);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::vector<double> values,
                                 AutoRegularization(*provider, blocks, data));
  EXPECT_GT(values[0], 0);
  EXPECT_EQ(values[1], 0);

  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const FittedRegularization fitted,
      FitRegularization(
          Regularization::Auto(), blocks,
          [&]() -> absl::StatusOr<std::vector<double>> { return values; }));
  EXPECT_THAT(fitted.auto_values, ElementsAre(values[0], 0));
  // Of six parameters of the block with gradients and two of the other.
  EXPECT_THAT(
      fitted.values,
      ElementsAre(values[0], testing::DoubleNear(values[0] * 6 / 8, 1e-15)));
  EXPECT_THAT(RegularizationRemarks(fitted, 0), IsEmpty());
  EXPECT_THAT(RegularizationRemarks(fitted, 1),
              ElementsAre("all gradients are zero: contributes nothing"));

  // Values that are given last until auto is asked for again.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Regularization constant,
                                 Regularization::Constant(2));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedRegularization other,
                                 RefitRegularization(constant, blocks, fitted));
  EXPECT_THAT(other.values, ElementsAre(2, 2));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const FittedRegularization again,
      RefitRegularization(Regularization::Auto(), blocks, other));
  EXPECT_EQ(again.values, fitted.values);
}

TEST_F(RegularizationTest, NoiseBesideTheLargestGradientsCountsAsZero) {
  const std::vector<ParameterBlock>& blocks = layers_.blocks();
  const double unit = std::numeric_limits<float>::epsilon();
  // Root mean squares of 1 and of a few rounding units.
  const auto found = [&](double units) {
    return AutoRegularizationFromMeanSquaredNorms(
        layers_,
        {static_cast<double>(blocks[0].size),
         static_cast<double>(blocks[1].size) * units * units * unit * unit},
        unit);
  };
  for (const double units : {0.0, 0.5, 3.9}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::vector<double> values,
                                   found(units));
    EXPECT_THAT(values, ElementsAre(testing::DoubleNear(0.1, 1e-15), 0))
        << units;
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::vector<double> values, found(4.1));
  EXPECT_GT(values[1], 0);
  EXPECT_THAT(AutoRegularizationFromMeanSquaredNorms(
                  layers_, {1, std::numeric_limits<double>::quiet_NaN()}, unit),
              StatusIs(kInvalid, HasSubstr("found auto, but the mean squared "
                                           "norm of the gradients is nan")));
}

TEST_F(RegularizationTest, AutoIsRefusedWhereNoBlockHasInformation) {
  EXPECT_THAT(
      FitRegularization(Regularization::Auto(), layers_,
                        []() -> absl::StatusOr<std::vector<double>> {
                          return std::vector<double>(2);
                        }),
      StatusIs(kInvalid, AllOf(HasSubstr("all training samples are zero"),
                               HasSubstr("--regularization"))));
}

TEST_F(RegularizationTest, FitsLookForAutoOnlyWhereItIsAskedFor) {
  int calls = 0;
  const auto find = [&]() -> absl::StatusOr<std::vector<double>> {
    ++calls;
    return std::vector<double>{0.25, 0.5};
  };
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Regularization constant,
                                 Regularization::Constant(2));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedRegularization given,
                                 FitRegularization(constant, layers_, find));
  EXPECT_THAT(given.values, ElementsAre(2, 2));
  EXPECT_THAT(given.auto_values, IsEmpty());
  EXPECT_EQ(calls, 0);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const FittedRegularization found,
      FitRegularization(Regularization::Auto(), layers_, find));
  EXPECT_THAT(found.values, ElementsAre(0.25, 0.5));
  EXPECT_EQ(calls, 1);

  // Other values leave what auto has found; auto brings it back.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedRegularization other,
                                 RefitRegularization(constant, layers_, found));
  EXPECT_THAT(other.values, ElementsAre(2, 2));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const FittedRegularization again,
      RefitRegularization(Regularization::Auto(), layers_, other));
  EXPECT_THAT(again.values, ElementsAre(0.25, 0.5));
  EXPECT_THAT(RefitRegularization(Regularization::Auto(), layers_, given),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("found auto, expected values")));
}

}  // namespace
}  // namespace influence
