// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/affine_layers.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/addmm.h"
#include "ATen/ops/bmm.h"
#include "ATen/ops/conv1d.h"
#include "ATen/ops/conv2d.h"
#include "ATen/ops/conv_transpose1d.h"
#include "ATen/ops/einsum.h"
#include "ATen/ops/embedding.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_term.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"
#include "gradients/rules/rule_testing.h"
#include "gtest/gtest.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

using Tensors = std::vector<at::Tensor>;
using Forward = std::function<at::Tensor(const Tensors&, const at::Tensor&)>;

struct Observed {
  std::shared_ptr<const Model> model;
  std::shared_ptr<const CapturingGradientProvider> provider;
  Batch batch;
};

// A model p0, p1, ... of the given parameters, observed on x.
Observed Observe(const Tensors& values, Forward forward, const at::Tensor& x) {
  Tensors tensors;
  std::vector<NamedParameter> parameters;
  for (size_t i = 0; i < values.size(); ++i) {
    tensors.push_back(ParameterLike(values[i]));
    parameters.push_back({"p" + std::to_string(i), tensors.back()});
  }
  Observed observed;
  observed.model = std::make_shared<FunctionModel>(
      parameters, [tensors, forward = std::move(forward)](const Tensors& in) {
        return forward(tensors, in[0]);
      });
  observed.batch = Batch{{x}, Normal({x.size(0)}, 77)};
  const PerSampleFunction loss(
      "test loss", /*higher_is_better=*/false,
      [](const at::Tensor& output, const at::Tensor& y) {
        const at::Tensor flat = output.reshape({output.size(0), -1});
        return flat.square().add(flat.mul(y.unsqueeze(1))).sum(1);
      });
  absl::StatusOr<std::shared_ptr<const CapturingGradientProvider>> provider =
      CapturingGradientProvider::Create(observed.model, loss, observed.batch);
  EXPECT_THAT(provider, IsOk());
  if (provider.ok()) observed.provider = *std::move(provider);
  return observed;
}

// The one layer of `observed`, of weight 0 and the given bias, whose factors
// give the gradients of plain autograd.
void ExpectOneLayer(const Observed& observed, std::optional<int64_t> bias,
                    int64_t groups, int64_t outputs, int64_t inputs,
                    bool input_major, int64_t num_uses = 1) {
  ASSERT_NE(observed.provider, nullptr);
  const AffineLayers& found = observed.provider->affine_layers();
  ASSERT_EQ(found.layers.size(), 1u) << testing::PrintToString(found.reasons);
  const AffineLayer& layer = found.layers[0];
  EXPECT_EQ(layer.weight, 0);
  EXPECT_EQ(layer.bias, bias);
  EXPECT_EQ(layer.groups, groups);
  EXPECT_EQ(layer.outputs, outputs);
  EXPECT_EQ(layer.inputs, inputs);
  EXPECT_EQ(layer.input_major, input_major);
  EXPECT_EQ(found.reasons[0], "");

  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<const AutogradGradientProvider> reference,
      AutogradGradientProvider::Create(observed.model,
                                       observed.provider->function()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                                 reference->FlatGrads(observed.batch));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const FactoredGradients gradients,
      observed.provider->FactoredGrads(observed.batch));
  const FactoredParameter* bias_gradients =
      bias.has_value() ? &gradients.parameters()[*bias] : nullptr;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::vector<LayerFactors> factors,
      FactorsOfLayer(layer, gradients.parameters()[0], bias_gradients));
  // Uses of the same widths are one, with the positions of all.
  ASSERT_EQ(factors.size(), 1u);
  const int64_t n = observed.batch.size();
  EXPECT_EQ(factors[0].num_positions(), n * factors[0].inputs.size(2));
  EXPECT_EQ(factors[0].inputs.size(2) % num_uses, 0);
  at::Tensor whole = at::zeros({n, groups, outputs, inputs}, at::kDouble);
  at::Tensor sums = at::zeros({n, groups * outputs}, at::kDouble);
  for (const LayerFactors& use : factors) {
    whole.add_(at::einsum("nhto,nhti->nhoi", {use.gradients, use.inputs}));
    sums.add_(use.gradients.sum({2}).reshape({n, groups * outputs}));
  }
  if (input_major) whole = whole.transpose(2, 3);
  const int64_t size = groups * outputs * inputs;
  EXPECT_THAT(whole.reshape({n, size}),
              TensorNear(expected.narrow(1, 0, size), 1e-10));
  if (bias.has_value()) {
    ASSERT_EQ(*bias, 1);
    EXPECT_THAT(sums,
                TensorNear(expected.narrow(1, size, sums.size(1)), 1e-10));
  }
}

// Parameter `index` is in no layer for a reason that contains `text`.
void ExpectReason(const Observed& observed, size_t index,
                  const std::string& text) {
  ASSERT_NE(observed.provider, nullptr);
  const AffineLayers& found = observed.provider->affine_layers();
  EXPECT_THAT(found.reasons[index], HasSubstr(text));
  for (const AffineLayer& layer : found.layers) {
    EXPECT_NE(layer.weight, static_cast<int64_t>(index));
    EXPECT_NE(layer.bias, static_cast<int64_t>(index));
  }
}

TEST(AffineLayersTest, LinearWithItsBias) {
  ExpectOneLayer(Observe(
                     {Normal({2, 3}, 1), Normal({2}, 2)},
                     [](const Tensors& p, const at::Tensor& x) {
                       return at::linear(x, p[0], p[1]);
                     },
                     Normal({5, 4, 3}, 3)),
                 1, 1, 2, 3, /*input_major=*/false);
  ExpectOneLayer(Observe(
                     {Normal({2, 3}, 1), Normal({2}, 2)},
                     [](const Tensors& p, const at::Tensor& x) {
                       return at::addmm(p[1], x, p[0].t());
                     },
                     Normal({5, 3}, 3)),
                 1, 1, 2, 3, /*input_major=*/false);
}

TEST(AffineLayersTest, WeightStoredInputMajor) {
  ExpectOneLayer(
      Observe(
          {Normal({3, 2}, 1)},
          [](const Tensors& p, const at::Tensor& x) { return at::mm(x, p[0]); },
          Normal({5, 3}, 3)),
      std::nullopt, 1, 2, 3, /*input_major=*/true);
}

TEST(AffineLayersTest, WeightOnTheLeft) {
  ExpectOneLayer(Observe(
                     {Normal({2, 3}, 1), Normal({2, 1}, 2)},
                     [](const Tensors& p, const at::Tensor& x) {
                       return at::matmul(p[0], x).add(p[1]);  // [N, 2, 4]
                     },
                     Normal({5, 3, 4}, 3)),
                 1, 1, 2, 3, /*input_major=*/false);
}

TEST(AffineLayersTest, BiasAddedByAnOperatorOfItsOwn) {
  for (const bool in_place : {false, true}) {
    const Observed observed = Observe(
        {Normal({2, 3}, 1), Normal({2}, 2)},
        [in_place](const Tensors& p, const at::Tensor& x) {
          at::Tensor out = at::matmul(x, p[0].t());
          if (!in_place) return p[1].add(out);
          out.add_(p[1]);
          return out;
        },
        Normal({5, 4, 3}, 3));
    ExpectOneLayer(observed, 1, 1, 2, 3, /*input_major=*/false);
    EXPECT_TRUE(observed.provider->affine_layers().layers[0].bias_apart);
  }
}

TEST(AffineLayersTest, ConvolutionsWithGroups) {
  ExpectOneLayer(Observe(
                     {Normal({4, 3, 2}, 1), Normal({4}, 2)},
                     [](const Tensors& p, const at::Tensor& x) {
                       return at::conv1d(x, p[0], p[1], 1, 1, 1, 2);
                     },
                     Normal({5, 6, 4}, 3)),
                 1, 2, 2, 6, /*input_major=*/false);
  // The bias apart, along the channels.
  ExpectOneLayer(Observe(
                     {Normal({2, 3, 2, 2}, 1), Normal({2}, 2)},
                     [](const Tensors& p, const at::Tensor& x) {
                       return at::conv2d(x, p[0]).add(p[1].view({1, 2, 1, 1}));
                     },
                     Normal({5, 3, 3, 3}, 3)),
                 1, 1, 2, 12, /*input_major=*/false);
}

TEST(AffineLayersTest, AStackOfWeightsIsAGroupEach) {
  ExpectOneLayer(
      Observe(
          {Normal({2, 3, 4}, 1), Normal({2, 1, 4}, 2)},
          [](const Tensors& p, const at::Tensor& x) {
            return at::bmm(x.transpose(0, 1), p[0]).add(p[1]).transpose(0, 1);
          },
          Normal({5, 2, 3}, 3)),
      1, 2, 4, 3, /*input_major=*/true);
}

TEST(AffineLayersTest, AWeightUsedTwiceHasTheFactorsOfBothUses) {
  ExpectOneLayer(Observe(
                     {Normal({3, 3}, 1), Normal({3}, 2)},
                     [](const Tensors& p, const at::Tensor& x) {
                       return at::linear(at::linear(x, p[0], p[1]).tanh(), p[0],
                                         p[1]);
                     },
                     Normal({5, 3}, 3)),
                 1, 1, 3, 3, /*input_major=*/false, /*num_uses=*/2);
}

TEST(AffineLayersTest, BiasesThatAreNotAddedOnceToEachUse) {
  const Observed one_of_two = Observe(
      {Normal({3, 3}, 1), Normal({3}, 2)},
      [](const Tensors& p, const at::Tensor& x) {
        return at::linear(at::linear(x, p[0], p[1]).tanh(), p[0]);
      },
      Normal({5, 3}, 3));
  ExpectReason(one_of_two, 1, "not added exactly once to each use of p0");
  ExpectOneLayer(one_of_two, std::nullopt, 1, 3, 3, /*input_major=*/false,
                 /*num_uses=*/2);
  // One bias of two weights.
  ExpectReason(Observe(
                   {Normal({3, 3}, 1), Normal({3}, 2), Normal({3, 3}, 3)},
                   [](const Tensors& p, const at::Tensor& x) {
                     return at::linear(at::linear(x, p[0], p[1]).tanh(), p[2],
                                       p[1]);
                   },
                   Normal({5, 3}, 3)),
               1, "not added exactly once to each use of p0");
  // Scaled.
  ExpectReason(Observe(
                   {Normal({3, 2}, 1), Normal({2}, 2)},
                   [](const Tensors& p, const at::Tensor& x) {
                     return at::addmm(p[1], x, p[0], /*beta=*/0.5);
                   },
                   Normal({5, 3}, 3)),
               1, "used by aten::addmm");
}

TEST(AffineLayersTest, AProductThatIsAlsoUsedWithoutItsBias) {
  const Observed observed = Observe(
      {Normal({2, 3}, 1), Normal({2}, 2)},
      [](const Tensors& p, const at::Tensor& x) {
        const at::Tensor product = at::matmul(x, p[0].t());
        return product.add(p[1]).tanh().add(product);
      },
      Normal({5, 4, 3}, 3));
  ExpectReason(observed, 1, "the output of p0 is also used without it");
  ExpectOneLayer(observed, std::nullopt, 1, 2, 3, /*input_major=*/false);
}

TEST(AffineLayersTest, WhatIsNoLayerHasAReason) {
  // A transposed convolution and its bias.
  const Observed transposed = Observe(
      {Normal({3, 2, 2}, 1), Normal({2}, 2)},
      [](const Tensors& p, const at::Tensor& x) {
        return at::conv_transpose1d(x, p[0], p[1]);
      },
      Normal({5, 3, 4}, 3));
  ExpectReason(transposed, 0, "used by aten::convolution");
  ExpectReason(transposed, 1, "used by aten::convolution");
  // A weight tied with an embedding.
  ExpectReason(Observe(
                   {Normal({7, 3}, 1)},
                   [](const Tensors& p, const at::Tensor& x) {
                     return at::linear(
                         at::embedding(p[0], x.abs().mul(2).to(at::kLong)),
                         p[0]);
                   },
                   Normal({5, 4}, 3).clamp(-3, 3)),
               0, "used by an embedding");
  // A part of a weight at a time.
  const Observed thirds = Observe(
      {Normal({6, 3}, 1), Normal({6}, 2), Normal({4}, 3)},
      [](const Tensors& p, const at::Tensor& x) {
        const Tensors w = p[0].chunk(2), b = p[1].chunk(2);
        return at::linear(x, w[0], b[0]).mul(at::linear(x, w[1], b[1]));
      },
      Normal({5, 4, 3}, 3));
  ExpectReason(thirds, 0, "only a part of it is used by aten::linear");
  ExpectReason(thirds, 1, "used by aten::linear");
  ExpectReason(thirds, 2, "not used");
  // Served by autograd.
  ExpectReason(Observe(
                   {Normal({2, 3}, 1)},
                   [](const Tensors& p, const at::Tensor& x) {
                     return at::linear(x, p[0].div(p[0].norm()));
                   },
                   Normal({5, 3}, 3)),
               0, "no rule for");
}

TEST(AffineLayersTest, RefusesGradientsThatAreNotTheLayers) {
  const AffineLayer layer{0,
                          1,
                          1,
                          2,
                          3,
                          /*input_major=*/false,
                          /*bias_apart=*/true};
  const at::Tensor a = Normal({4, 1, 2, 3}, 1), g = Normal({4, 1, 2, 2}, 2);
  const FactoredParameter weight{
      "weight", 6, {std::make_shared<OuterProductTerm>(0, g, a)}};
  const FactoredParameter bias{
      "bias", 2, {std::make_shared<DenseTerm>(0, g.sum({1, 2}))}};
  INFLUENCE_EXPECT_OK(FactorsOfLayer(layer, weight, &bias));
  EXPECT_THAT(
      FactorsOfLayer(layer, bias, nullptr),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               HasSubstr("bias: found gradients that are not in factors")));
  const FactoredParameter swapped{
      "weight", 6, {std::make_shared<OuterProductTerm>(0, a, g)}};
  EXPECT_THAT(FactorsOfLayer(layer, swapped, nullptr),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("weight: found factors [1 x (3 + 2)], "
                                 "expected [1 x (2 + 3)]")));
  at::Tensor other = g.sum({1, 2});
  other[2][1] += 1e-6;
  const FactoredParameter apart{
      "bias", 2, {std::make_shared<DenseTerm>(0, other)}};
  EXPECT_THAT(FactorsOfLayer(layer, weight, &apart),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("bias: found gradients that differ by")));
}

}  // namespace
}  // namespace influence
