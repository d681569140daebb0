// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/per_sample_function.h"

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Reduction.h"
#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/cross_entropy_loss.h"
#include "ATen/ops/empty_like.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/sin.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"
#include "torch/csrc/autograd/autograd.h"

namespace influence {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

testing::Matcher<const absl::StatusOr<at::Tensor>&> Invalid(
    const std::string& message) {
  return StatusIs(absl::StatusCode::kInvalidArgument, message);
}

// Entries in [-2, 2], all different, the same in every run.
at::Tensor Numbers(at::IntArrayRef shape) {
  int64_t size = 1;
  for (const int64_t length : shape) size *= length;
  return at::sin(at::arange(1, size + 1, at::kDouble).mul(1.7))
      .mul(2)
      .reshape(shape);
}

at::Tensor Labels(const std::vector<int64_t>& values) {
  return at::tensor(values, at::kLong);
}

// log sum exp of a row, written out.
double LogSumExp(const at::Tensor& row) {
  double sum = 0;
  for (int64_t k = 0; k < row.numel(); ++k) {
    sum += std::exp(row[k].item<double>());
  }
  return std::log(sum);
}

TEST(PerSampleFunctionTest, CrossEntropyIsTheNegativeLogProbability) {
  const at::Tensor output = Numbers({3, 4});
  const at::Tensor y = Labels({2, 0, 3});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor values,
                                 CrossEntropyLoss().Evaluate(output, y));
  at::Tensor expected = at::zeros({3}, at::kDouble);
  for (int64_t n = 0; n < 3; ++n) {
    expected[n] =
        LogSumExp(output[n]) - output[n][y[n].item<int64_t>()].item<double>();
  }
  EXPECT_THAT(values, TensorNear(expected, 1e-14));
}

TEST(PerSampleFunctionTest, CrossEntropyOfASequenceIsSummedOverItsTokens) {
  const at::Tensor output = Numbers({2, 3, 4});
  // The second sample's middle token is ignored.
  const at::Tensor y = Labels({1, 0, 3, 2, -100, 1}).reshape({2, 3});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor values,
                                 CrossEntropyLoss().Evaluate(output, y));
  at::Tensor expected = at::zeros({2}, at::kDouble);
  for (int64_t n = 0; n < 2; ++n) {
    for (int64_t t = 0; t < 3; ++t) {
      const int64_t label = y[n][t].item<int64_t>();
      if (label == -100) continue;
      expected[n] +=
          LogSumExp(output[n][t]) - output[n][t][label].item<double>();
    }
  }
  EXPECT_THAT(values, TensorNear(expected, 1e-14));
}

// Values and gradients of LibTorch's own loss, whose classes are second.
void ExpectLibTorchsCrossEntropy(const PerSampleFunction& loss,
                                 const at::Tensor& values, const at::Tensor& y,
                                 bool classes_last) {
  const at::Tensor output = values.clone().requires_grad_(true);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found,
                                 loss.Evaluate(output, y));
  const at::Tensor reference = values.clone().requires_grad_(true);
  const at::Tensor expected =
      at::cross_entropy_loss(
          classes_last ? reference.movedim(-1, 1) : reference, y, /*weight=*/{},
          at::Reduction::None, /*ignore_index=*/-100)
          .reshape({y.size(0), -1})
          .sum(1);
  EXPECT_THAT(found.detach(), TensorNear(expected.detach(), 1e-13));
  const at::Tensor weights = Numbers({y.size(0)});
  const at::Tensor gradient =
      torch::autograd::grad({found.mul(weights).sum()}, {output})[0];
  const at::Tensor expected_gradient =
      torch::autograd::grad({expected.mul(weights).sum()}, {reference})[0];
  EXPECT_THAT(gradient, TensorNear(expected_gradient, 1e-13));
}

TEST(PerSampleFunctionTest, ClassesMayBeSecondWhereverTheShapeOfYSaysSo) {
  // [N, K, T], [N, K, H, W] with H = K, and K = 1.
  ExpectLibTorchsCrossEntropy(CrossEntropyLoss(), Numbers({2, 4, 3}),
                              Labels({1, 0, 3, 2, -100, 1}).reshape({2, 3}),
                              /*classes_last=*/false);
  ExpectLibTorchsCrossEntropy(
      CrossEntropyLoss(), Numbers({2, 2, 2, 3}),
      Labels({1, 0, 1, 1, -100, 0, 0, 0, 1, -100, 1, 1}).reshape({2, 2, 3}),
      /*classes_last=*/false);
  ExpectLibTorchsCrossEntropy(CrossEntropyLoss(), Numbers({2, 1, 3}),
                              at::zeros({2, 3}, at::kLong),
                              /*classes_last=*/false);
  // [N, T, K] and [N, H, W, K].
  ExpectLibTorchsCrossEntropy(CrossEntropyLoss(), Numbers({2, 3, 4}),
                              Labels({1, 0, 3, 2, -100, 1}).reshape({2, 3}),
                              /*classes_last=*/true);
  ExpectLibTorchsCrossEntropy(
      CrossEntropyLoss(), Numbers({2, 2, 3, 2}),
      Labels({1, 0, 1, 1, -100, 0, 0, 0, 1, -100, 1, 1}).reshape({2, 2, 3}),
      /*classes_last=*/true);
  // Read in one way only, though lengths are equal: y [N, H, W] with H = K.
  ExpectLibTorchsCrossEntropy(CrossEntropyLoss(), Numbers({2, 2, 2, 1}),
                              Labels({1, 0, 1, 1}).reshape({2, 2, 1}),
                              /*classes_last=*/false);
  // One class and one position: both readings are the same.
  ExpectLibTorchsCrossEntropy(CrossEntropyLoss(), Numbers({2, 1, 1}),
                              at::zeros({2, 1}, at::kLong),
                              /*classes_last=*/true);
}

TEST(PerSampleFunctionTest, AnAmbiguousLayoutIsNotGuessed) {
  const at::Tensor square = Numbers({3, 2, 2});
  const at::Tensor y = Labels({1, 0, -100, 1, 0, 0}).reshape({3, 2});
  for (const PerSampleFunction& function :
       {CrossEntropyLoss(), MarginFunction(), LogitFunction()}) {
    EXPECT_THAT(
        function.Evaluate(square, y).status(),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 AllOf(HasSubstr("model output: found shape [3, 2, 2] with "
                                 "labels of shape [3, 2]"),
                       HasSubstr("[N, 2, K = 2] (classes_last)"),
                       HasSubstr("[N, K = 2, 2] (classes_second"),
                       HasSubstr("--logits-layout"))));
  }
  EXPECT_THAT(
      CrossEntropyLoss()
          .Evaluate(Numbers({2, 3, 3, 3}), at::zeros({2, 3, 3}, at::kLong))
          .status(),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("(classes_second")));
  for (const LogitsLayout layout :
       {LogitsLayout::kClassesLast, LogitsLayout::kClassesSecond}) {
    const bool last = layout == LogitsLayout::kClassesLast;
    ExpectLibTorchsCrossEntropy(CrossEntropyLoss({.layout = layout}), square, y,
                                last);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const LogitsLayout parsed,
                                   ParseLogitsLayout(LogitsLayoutName(layout)));
    EXPECT_EQ(parsed, layout);
    // The query functions follow the loss.
    for (const char* name : {"margin", "logit"}) {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const PerSampleFunction query,
          QueryFunctionByName(name, CrossEntropyLoss({.layout = layout})));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found,
                                     query.Evaluate(square, y));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const PerSampleFunction classes_last,
          QueryFunctionByName(
              name, CrossEntropyLoss({.layout = LogitsLayout::kClassesLast})));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const at::Tensor expected,
          classes_last.Evaluate(last ? square : square.transpose(1, 2), y));
      EXPECT_THAT(found, TensorNear(expected, 0));
    }
  }
  // A layout that does not fit is an error, not another one.
  EXPECT_THAT(CrossEntropyLoss({.layout = LogitsLayout::kClassesSecond})
                  .Evaluate(Numbers({2, 3, 4}), at::zeros({2, 3}, at::kLong))
                  .status(),
              Invalid("labels: found shape [2, 3], expected shape [2, 4]"));
  EXPECT_THAT(ParseLogitsLayout("nchw").status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("expected one of by_shape, classes_last")));
}

TEST(PerSampleFunctionTest, ASampleWhoseTokensAreAllIgnoredCountsNothing) {
  const at::Tensor output = Numbers({1, 2, 3}).requires_grad_(true);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor values,
      CrossEntropyLoss().Evaluate(output,
                                  Labels({-100, -100}).reshape({1, 2})));
  EXPECT_EQ(values[0].item<double>(), 0);
  const at::Tensor gradient =
      torch::autograd::grad({values.sum()}, {output})[0];
  EXPECT_THAT(gradient, TensorNear(at::zeros({1, 2, 3}, at::kDouble), 0));
}

TEST(PerSampleFunctionTest, MeanSquaredErrorIsAMeanOverASample) {
  const at::Tensor output = Numbers({2, 3, 2});
  const at::Tensor y = Numbers({2, 3, 2}).mul(0.3);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor values,
                                 MeanSquaredErrorLoss().Evaluate(output, y));
  const at::Tensor squares = output.sub(y).pow(2).reshape({2, 6});
  EXPECT_THAT(values, TensorNear(squares.mean(1), 1e-15));
  // One number a sample: [N] is a shape like any other.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor scalars,
      MeanSquaredErrorLoss().Evaluate(Numbers({4}), at::zeros({4}, at::kInt)));
  EXPECT_THAT(scalars, TensorNear(Numbers({4}).pow(2), 1e-15));
}

TEST(PerSampleFunctionTest, BinaryCrossEntropyIsAMeanOverASample) {
  const at::Tensor output = Numbers({2, 3}).mul(20);
  const at::Tensor y = at::tensor({0., 1., 0.25, 1., 0., 1.}).reshape({2, 3});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor values,
      BinaryCrossEntropyWithLogitsLoss().Evaluate(output, y.to(at::kDouble)));
  at::Tensor expected = at::zeros({2}, at::kDouble);
  for (int64_t n = 0; n < 2; ++n) {
    for (int64_t k = 0; k < 3; ++k) {
      const double o = output[n][k].item<double>();
      expected[n] += (std::log1p(std::exp(-std::fabs(o))) + std::fmax(o, 0) -
                      y[n][k].item<double>() * o) /
                     3;
    }
  }
  EXPECT_THAT(values, TensorNear(expected, 1e-14));
}

TEST(PerSampleFunctionTest, MarginIsTheLogOddsOfTheCorrectClass) {
  const at::Tensor output = Numbers({2, 3});
  const at::Tensor y = Labels({1, 2});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor values,
                                 MarginFunction().Evaluate(output, y));
  at::Tensor expected = at::zeros({2}, at::kDouble);
  for (int64_t n = 0; n < 2; ++n) {
    const double p = std::exp(output[n][y[n].item<int64_t>()].item<double>() -
                              LogSumExp(output[n]));
    expected[n] = std::log(p) - std::log(1 - p);
  }
  EXPECT_THAT(values, TensorNear(expected, 1e-14));
}

TEST(PerSampleFunctionTest, MarginStaysExactWhereTheModelIsCertain) {
  // 1 - p is below float32's and float64's resolution here.
  const at::Tensor output =
      at::tensor({60.f, 0.f, 0.f, -60.f, 0.f, 0.f}).reshape({2, 3});
  const at::Tensor leaf = output.clone().requires_grad_(true);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor values, MarginFunction().Evaluate(leaf, Labels({0, 0})));
  const float log2 = std::log(2.f);
  EXPECT_THAT(values.detach(),
              TensorNear(at::tensor({60.f - log2, -60.f - log2}), 1e-6));
  const at::Tensor gradient = torch::autograd::grad({values.sum()}, {leaf})[0];
  EXPECT_THAT(
      gradient,
      TensorNear(at::tensor({1.f, -.5f, -.5f, 1.f, -.5f, -.5f}).reshape({2, 3}),
                 1e-6));
}

TEST(PerSampleFunctionTest, LogitIsTheCorrectClassesOutput) {
  const at::Tensor output = Numbers({2, 3});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor values,
      LogitFunction().Evaluate(output, Labels({1, 2})));
  EXPECT_EQ(values[0].item<double>(), output[0][1].item<double>());
  EXPECT_EQ(values[1].item<double>(), output[1][2].item<double>());
}

TEST(PerSampleFunctionTest, QueryFunctionsOfASequenceAreSummedOverItsTokens) {
  const at::Tensor output = Numbers({1, 3, 4});
  const at::Tensor y = Labels({1, -100, 3}).reshape({1, 3});
  for (const PerSampleFunction& function :
       {MarginFunction(), LogitFunction()}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor whole,
                                   function.Evaluate(output, y));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const at::Tensor first,
        function.Evaluate(output[0].narrow(0, 0, 1), Labels({1})));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const at::Tensor last,
        function.Evaluate(output[0].narrow(0, 2, 1), Labels({3})));
    EXPECT_THAT(whole, TensorNear(first.add(last), 1e-15)) << function.name();
  }
}

// The first and second derivative against central differences of the value and
// of the first derivative. Error of a difference with step h = 1e-5: h^2 times
// a third derivative of at most 1, plus epsilon / h: about 1e-10 and 2e-11.
void ExpectDerivatives(const PerSampleFunction& function,
                       const at::Tensor& output, const at::Tensor& y) {
  constexpr double kStep = 1e-5;
  const auto gradient_at = [&](const at::Tensor& at, bool twice) {
    const at::Tensor leaf = at.clone().requires_grad_(true);
    const at::Tensor sum = function.Evaluate(leaf, y)->sum();
    const at::Tensor gradient = torch::autograd::grad(
        {sum}, {leaf}, {}, /*retain_graph=*/true, /*create_graph=*/twice)[0];
    return std::pair(leaf, gradient);
  };
  const auto [leaf, gradient] = gradient_at(output, /*twice=*/true);
  const at::Tensor direction = Numbers(output.sizes()).flip({0});
  at::Tensor product = at::zeros(output.sizes(), at::kDouble);
  if (gradient.requires_grad()) {
    product = torch::autograd::grad({gradient}, {leaf}, {direction}, false,
                                    false, /*allow_unused=*/true)[0];
  }
  at::Tensor expected = at::zeros({output.numel()}, at::kDouble);
  for (int64_t i = 0; i < output.numel(); ++i) {
    at::Tensor step = at::zeros({output.numel()}, at::kDouble);
    step[i] = kStep;
    step = step.reshape(output.sizes());
    const double above =
        function.Evaluate(output.add(step), y)->sum().item<double>();
    const double below =
        function.Evaluate(output.sub(step), y)->sum().item<double>();
    expected[i] = (above - below) / (2 * kStep);
  }
  EXPECT_THAT(gradient.detach(),
              TensorNear(expected.reshape(output.sizes()), 1e-8))
      << function.name();
  const at::Tensor step = direction.mul(kStep);
  const at::Tensor expected_product =
      gradient_at(output.add(step), false)
          .second.sub(gradient_at(output.sub(step), false).second)
          .div(2 * kStep);
  EXPECT_THAT(product.detach(), TensorNear(expected_product, 1e-8))
      << function.name();
}

TEST(PerSampleFunctionTest, AllAreTwiceDifferentiable) {
  const at::Tensor y = Labels({1, -100, 3, 2, 0, 1}).reshape({2, 3});
  for (const PerSampleFunction& function :
       {CrossEntropyLoss(), MarginFunction(), LogitFunction()}) {
    ExpectDerivatives(function, Numbers({3, 4}), Labels({2, 0, 3}));
    ExpectDerivatives(function, Numbers({2, 3, 4}), y);
    ExpectDerivatives(function, Numbers({2, 4, 3}), y);
  }
  const at::Tensor targets = Numbers({3, 2}).mul(0.25).add(0.5);
  ExpectDerivatives(MeanSquaredErrorLoss(), Numbers({3, 2}), targets);
  ExpectDerivatives(BinaryCrossEntropyWithLogitsLoss(), Numbers({3, 2}),
                    targets);
}

TEST(PerSampleFunctionTest, AValueDependsOnItsOwnRowOnly) {
  const at::Tensor y = Labels({1, 0, 3});
  for (const PerSampleFunction& function :
       {CrossEntropyLoss(), MarginFunction(), LogitFunction()}) {
    at::Tensor output = Numbers({3, 4});
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor before,
                                   function.Evaluate(output, y));
    output[1] += 5;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor after,
                                   function.Evaluate(output, y));
    EXPECT_EQ(before[0].item<double>(), after[0].item<double>());
    EXPECT_EQ(before[2].item<double>(), after[2].item<double>());
  }
}

TEST(PerSampleFunctionTest, RefusesLabelsOutOfRange) {
  const at::Tensor output = Numbers({5, 10});
  EXPECT_THAT(CrossEntropyLoss().Evaluate(output, Labels({0, 9, 3, 12, -1})),
              Invalid("labels: found value 12 at sample 3, expected [0, 10)"));
  // Ignored labels are for tokens; a sample without a label is a mistake.
  EXPECT_THAT(
      CrossEntropyLoss().Evaluate(output, Labels({0, -100, 3, 1, 1})),
      Invalid("labels: found value -100 at sample 1, expected [0, 10)"));
  EXPECT_THAT(
      MarginFunction().Evaluate(Numbers({2, 3, 4}),
                                Labels({0, 1, -100, 0, 4, 0}).reshape({2, 3})),
      Invalid("labels: found value 4 at sample 1, token 1, expected [0, 4) or "
              "-100 for an ignored token"));
}

TEST(PerSampleFunctionTest, NarrowLabelsAreNotWrappedRound) {
  // 156 is -100 modulo 256, and 300 classes are more than a byte counts.
  const at::Tensor output = Numbers({1, 1, 300});
  const at::Tensor y = at::tensor({156}, at::kByte).reshape({1, 1});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor values,
                                 LogitFunction().Evaluate(output, y));
  EXPECT_EQ(values[0].item<double>(), output[0][0][156].item<double>());
  EXPECT_THAT(
      LogitFunction().Evaluate(Numbers({1, 1, 100}), y),
      Invalid("labels: found value 156 at sample 0, token 0, expected [0, 100) "
              "or -100 for an ignored token"));
}

TEST(PerSampleFunctionTest, RefusesLabelsThatAreNotIntegers) {
  EXPECT_THAT(
      CrossEntropyLoss().Evaluate(Numbers({2, 3}), at::ones({2}, at::kDouble)),
      Invalid("labels: found dtype float64, expected integers"));
}

TEST(PerSampleFunctionTest, RefusesShapesThatDoNotFit) {
  EXPECT_THAT(CrossEntropyLoss().Evaluate(Numbers({2, 3}),
                                          Labels({1, 1}).reshape({2, 1})),
              Invalid("labels: found shape [2, 1], expected shape [2]"));
  EXPECT_THAT(CrossEntropyLoss().Evaluate(Numbers({2}), Labels({1, 1})),
              Invalid("model output: found shape [2], expected logits [N, K] "
                      "or, of several predictions a sample, [N, ..., K] or "
                      "[N, K, ...]"));
  // Targets are never broadcast.
  for (const PerSampleFunction& function :
       {MeanSquaredErrorLoss(), BinaryCrossEntropyWithLogitsLoss()}) {
    EXPECT_THAT(function.Evaluate(Numbers({2, 1}), at::zeros({2})),
                Invalid("targets: found shape [2], expected shape [2, 1]"));
    EXPECT_THAT(function.Evaluate(Numbers({2, 3}), at::zeros({2, 1})),
                Invalid("targets: found shape [2, 1], expected shape [2, 3]"));
  }
  EXPECT_THAT(
      MeanSquaredErrorLoss().Evaluate(Numbers({3, 2}), at::zeros({2, 2})),
      Invalid("model output: found shape [3, 2], expected a first dimension of "
              "samples as y has, whose shape is [2, 2]"));
  EXPECT_THAT(MarginFunction().Evaluate(Numbers({2, 1}), Labels({0, 0})),
              Invalid("model output: found shape [2, 1], expected at least 2 "
                      "classes for a margin"));
}

TEST(PerSampleFunctionTest, RefusesTargetsThatAreNoProbabilities) {
  EXPECT_THAT(
      BinaryCrossEntropyWithLogitsLoss().Evaluate(
          Numbers({2, 2}), at::tensor({0., 1., 1.5, 0.}).reshape({2, 2})),
      StatusIs(absl::StatusCode::kInvalidArgument,
               StartsWith("targets: found value 1.5 at sample 1")));
}

TEST(PerSampleFunctionTest, AUsersFunctionIsChecked) {
  const at::Tensor output = Numbers({3, 2});
  const at::Tensor y = at::zeros({3});
  const PerSampleFunction sum(
      "row sum", /*higher_is_better=*/true,
      [](const at::Tensor& o, const at::Tensor&) { return o.sum(1); });
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor values,
                                 sum.Evaluate(output, y));
  EXPECT_THAT(values, TensorNear(output.sum(1), 0));
  EXPECT_EQ(sum.name(), "row sum");
  EXPECT_TRUE(sum.higher_is_better());

  const PerSampleFunction mean(
      "batch mean", false,
      [](const at::Tensor& o, const at::Tensor&) { return o.mean(); });
  EXPECT_THAT(mean.Evaluate(output, y),
              Invalid("batch mean: found shape [], expected shape [3]"));

  const PerSampleFunction failing(
      "broken", false, [](const at::Tensor&, const at::Tensor&) -> at::Tensor {
        throw std::runtime_error("no value");
      });
  EXPECT_THAT(
      failing.Evaluate(output, y),
      StatusIs(absl::StatusCode::kInternal, std::string("broken: no value")));
}

TEST(PerSampleFunctionTest, ValidateNeedsNoValues) {
  const at::Tensor shape_only = at::empty_like(Numbers({2, 3}));
  INFLUENCE_EXPECT_OK(CrossEntropyLoss().Validate(shape_only, Labels({0, 2})));
  EXPECT_THAT(CrossEntropyLoss().Validate(shape_only, Labels({0, 3})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       std::string("labels: found value 3 at sample 1, "
                                   "expected [0, 3)")));
}

TEST(PerSampleFunctionTest, LossesHaveNames) {
  EXPECT_THAT(LossNames(),
              testing::ElementsAre("cross_entropy", "mse",
                                   "binary_cross_entropy_with_logits"));
  for (const std::string& name : LossNames()) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const PerSampleFunction loss,
                                   LossByName(name));
    EXPECT_EQ(loss.name(), name);
    EXPECT_FALSE(loss.higher_is_better());
  }
  EXPECT_THAT(LossByName("hinge"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       std::string("loss: found \"hinge\", expected one of "
                                   "cross_entropy, mse, "
                                   "binary_cross_entropy_with_logits")));
}

TEST(PerSampleFunctionTest, QueryFunctionsHaveNames) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const PerSampleFunction loss,
      QueryFunctionByName("loss", MeanSquaredErrorLoss()));
  EXPECT_EQ(loss.name(), "mse");
  for (const std::string name : {"margin", "logit"}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const PerSampleFunction function,
        QueryFunctionByName(name, CrossEntropyLoss()));
    EXPECT_EQ(function.name(), name);
    EXPECT_TRUE(function.higher_is_better());
  }
  EXPECT_THAT(
      QueryFunctionByName("margin", MeanSquaredErrorLoss()),
      StatusIs(absl::StatusCode::kInvalidArgument,
               std::string("query function: found \"margin\" with loss "
                           "\"mse\", expected loss \"cross_entropy\"")));
  EXPECT_THAT(QueryFunctionByName("rank", CrossEntropyLoss()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       std::string("query function: found \"rank\", expected "
                                   "one of loss, margin, logit")));
}

}  // namespace
}  // namespace influence
