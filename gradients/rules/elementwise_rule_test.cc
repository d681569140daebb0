// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/rules/elementwise_rule.h"

#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/add.h"
#include "ATen/ops/mul.h"
#include "ATen/ops/sub.h"
#include "gradients/rules/rule_testing.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

using Tensors = std::vector<at::Tensor>;

TEST(ElementwiseRuleTest, ScaleAndBiasOfTheLastDimension) {
  ExpectMatchesAutograd({{{"scale", Normal({4}, 1)}, {"bias", Normal({4}, 2)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return x.mul(p[0]).add(p[1]);
                         },
                         Normal({5, 3, 4}, 3),
                         {"elementwise", "elementwise"}});
}

TEST(ElementwiseRuleTest, ParameterOnTheLeft) {
  ExpectMatchesAutograd({{{"scale", Normal({4}, 1)}, {"bias", Normal({4}, 2)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return p[1].sub(p[0].mul(x), /*alpha=*/3.0);
                         },
                         Normal({5, 3, 4}, 3),
                         {"elementwise", "elementwise"}});
}

TEST(ElementwiseRuleTest, SubtractionAndAlpha) {
  ExpectMatchesAutograd({{{"a", Normal({4}, 1)}, {"b", Normal({4}, 2)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return x.sub(p[0], 2.0).add(p[1], -0.5);
                         },
                         Normal({5, 4}, 3),
                         {"elementwise", "elementwise"}});
}

TEST(ElementwiseRuleTest, ChannelsThroughAViewAndAnExpandedView) {
  ExpectMatchesAutograd(
      {{{"scale", Normal({3}, 1)}, {"bias", Normal({3, 1, 1}, 2)}},
       [](const Tensors& p, const at::Tensor& x) {
         return x.mul(p[0].view({1, 3, 1, 1}).expand_as(x)).add(p[1]);
       },
       Normal({5, 3, 2, 2}, 3),
       {"elementwise", "elementwise"}});
}

TEST(ElementwiseRuleTest, PositionalEmbeddingAndScalar) {
  ExpectMatchesAutograd(
      {{{"position", Normal({3, 4}, 1)}, {"temperature", Normal({}, 2)}},
       [](const Tensors& p, const at::Tensor& x) {
         return x.add(p[0]).mul(p[1]);
       },
       Normal({5, 3, 4}, 3),
       {"elementwise", "elementwise"}});
}

TEST(ElementwiseRuleTest, APartOfAParameter) {
  ExpectMatchesAutograd(
      {{{"both", Normal({2, 4}, 1)}},
       [](const Tensors& p, const at::Tensor& x) {
         return x.mul(p[0].select(0, 1)).add(p[0].select(0, 0));
       },
       Normal({5, 4}, 3),
       {"elementwise"}});
}

TEST(ElementwiseRuleTest, SamplesInTheSecondDimension) {
  ExpectMatchesAutograd({{{"position", Normal({3, 1, 4}, 1)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return x.transpose(0, 1).mul(p[0]).transpose(0, 1);
                         },
                         Normal({5, 3, 4}, 3),
                         {"elementwise"}});
}

TEST(ElementwiseRuleTest, InPlaceProductFallsBackToAutograd) {
  ExpectMatchesAutograd({{{"scale", Normal({4}, 1)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           at::Tensor out = x.tanh();
                           out.mul_(p[0]);
                           return out;
                         },
                         Normal({5, 4}, 3),
                         {"autograd"}});
}

TEST(ElementwiseRuleTest, OutputOverwrittenInPlace) {
  ExpectMatchesAutograd({{{"scale", Normal({4}, 1)}, {"bias", Normal({4}, 2)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           at::Tensor out = x.mul(p[0]);
                           out.add_(1.0);
                           out.add_(p[1]);
                           return out;
                         },
                         Normal({5, 4}, 3),
                         {"elementwise", "elementwise"}});
}

TEST(ElementwiseRuleTest, AScaledParameterFallsBackToAutograd) {
  ExpectMatchesAutograd({{{"scale", Normal({4}, 1)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return x.mul(p[0].mul(p[0]));
                         },
                         Normal({5, 4}, 3),
                         {"autograd"}});
}

}  // namespace
}  // namespace influence
