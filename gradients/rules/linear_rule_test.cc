// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/rules/linear_rule.h"

#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/addmm.h"
#include "ATen/ops/bmm.h"
#include "ATen/ops/einsum.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/relu.h"
#include "gradients/rules/rule_testing.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

using Tensors = std::vector<at::Tensor>;

TEST(LinearRuleTest, LinearWithTwoToFourDimensions) {
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{5, 3}, {5, 4, 3}, {5, 2, 4, 3}}) {
    ExpectMatchesAutograd(
        {{{"weight", Normal({2, 3}, 1)}, {"bias", Normal({2}, 2)}},
         [](const Tensors& p, const at::Tensor& x) {
           return at::linear(x, p[0], p[1]);
         },
         Normal(shape, 3),
         {"linear", "linear"}});
  }
}

TEST(LinearRuleTest, LinearWithoutBias) {
  ExpectMatchesAutograd({{{"weight", Normal({2, 3}, 1)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return at::linear(x, p[0]);
                         },
                         Normal({5, 4, 3}, 3),
                         {"linear"}});
}

TEST(LinearRuleTest, AddmmScalesWeightByAlphaAndBiasByBeta) {
  ExpectMatchesAutograd(
      {{{"weight", Normal({3, 2}, 1)}, {"bias", Normal({2}, 2)}},
       [](const Tensors& p, const at::Tensor& x) {
         return at::addmm(p[1], x, p[0], /*beta=*/0.5, /*alpha=*/-2.0);
       },
       Normal({5, 3}, 3),
       {"linear", "linear"}});
}

TEST(LinearRuleTest, WeightIsUsedBehindATranspose) {
  ExpectMatchesAutograd(
      {{{"weight", Normal({2, 3}, 1)}, {"bias", Normal({2}, 2)}},
       [](const Tensors& p, const at::Tensor& x) {
         at::Tensor out = at::matmul(x, p[0].t());
         out.add_(p[1]);
         return out;
       },
       Normal({5, 4, 3}, 3),
       {"linear", "elementwise"}});
}

TEST(LinearRuleTest, WeightOnTheLeft) {
  ExpectMatchesAutograd({{{"weight", Normal({2, 3}, 1)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return at::mm(p[0], x.t()).t();
                         },
                         Normal({5, 3}, 3),
                         {"linear"}});
  ExpectMatchesAutograd({{{"weight", Normal({2, 3}, 1)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return at::matmul(p[0], x);  // [N, 3, 4]
                         },
                         Normal({5, 3, 4}, 3),
                         {"linear"}});
}

TEST(LinearRuleTest, ThirdsOfAFusedWeight) {
  ExpectMatchesAutograd({{{"in_proj_weight", Normal({6, 2}, 1)},
                          {"in_proj_bias", Normal({6}, 2)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           const Tensors w = p[0].chunk(3), b = p[1].chunk(3);
                           const at::Tensor q = at::linear(x, w[0], b[0]);
                           const at::Tensor k = at::linear(x, w[1], b[1]);
                           const at::Tensor v = at::linear(x, w[2], b[2]);
                           return at::bmm(
                               at::bmm(q, k.transpose(1, 2)).softmax(-1), v);
                         },
                         Normal({5, 3, 2}, 3),
                         {"linear", "linear"}});
}

TEST(LinearRuleTest, Einsum) {
  ExpectMatchesAutograd({{{"weight", Normal({2, 3}, 1)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return at::einsum("nti,oi->nto", {x, p[0]});
                         },
                         Normal({5, 4, 3}, 3),
                         {"linear"}});
}

TEST(LinearRuleTest, AStackOfWeightsIsAGroupEach) {
  ExpectMatchesAutograd(
      {{{"weight", Normal({2, 3, 4}, 1)}},
       [](const Tensors& p, const at::Tensor& x) {
         // [N, 2, 3] -> [2, N, 3] -> [2, N, 4] -> [N, 2, 4]
         return at::bmm(x.transpose(0, 1), p[0]).transpose(0, 1);
       },
       Normal({5, 2, 3}, 3),
       {"linear"}});
}

TEST(LinearRuleTest, SamplesInTheSecondDimension) {
  ExpectMatchesAutograd(
      {{{"weight", Normal({2, 3}, 1)}, {"bias", Normal({2}, 2)}},
       [](const Tensors& p, const at::Tensor& x) {
         return at::linear(x.transpose(0, 1), p[0], p[1]).transpose(0, 1);
       },
       Normal({5, 4, 3}, 3),
       {"linear", "linear"}});
}

TEST(LinearRuleTest, PositionsMergedWithSamplesInEitherOrder) {
  ExpectMatchesAutograd(
      {{{"weight", Normal({2, 3}, 1)}, {"bias", Normal({2}, 2)}},
       [](const Tensors& p, const at::Tensor& x) {
         return at::linear(x.reshape({-1, 3}), p[0], p[1]).view({-1, 4, 2});
       },
       Normal({5, 4, 3}, 3),
       {"linear", "linear"}});
  ExpectMatchesAutograd(
      {{{"weight", Normal({2, 3}, 1)}, {"bias", Normal({2}, 2)}},
       [](const Tensors& p, const at::Tensor& x) {
         return at::linear(x.transpose(0, 1).reshape({-1, 3}), p[0], p[1])
             .view({4, -1, 2})
             .transpose(0, 1);
       },
       Normal({5, 4, 3}, 3),
       {"linear", "linear"}});
}

TEST(LinearRuleTest, AsManyPositionsAsSamples) {
  // Five positions and five samples: only the probe tells them apart.
  ExpectMatchesAutograd(
      {{{"weight", Normal({2, 3}, 1)}, {"bias", Normal({2}, 2)}},
       [](const Tensors& p, const at::Tensor& x) {
         return at::linear(x.transpose(0, 1), p[0], p[1]).transpose(0, 1);
       },
       Normal({5, 5, 3}, 3),
       {"linear", "linear"}});
}

TEST(LinearRuleTest, AWeightUsedTwiceSumsItsTerms) {
  ExpectMatchesAutograd(
      {{{"weight", Normal({3, 3}, 1)}, {"bias", Normal({3}, 2)}},
       [](const Tensors& p, const at::Tensor& x) {
         return at::linear(at::linear(x, p[0], p[1]).tanh(), p[0], p[1]);
       },
       Normal({5, 3}, 3),
       {"linear", "linear"}});
}

TEST(LinearRuleTest, OutputOverwrittenInPlace) {
  ExpectMatchesAutograd({{{"weight", Normal({4, 3}, 1)},
                          {"bias", Normal({4}, 2)},
                          {"out.weight", Normal({2, 4}, 4)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           at::Tensor hidden = at::linear(x, p[0], p[1]);
                           hidden.relu_();
                           return at::linear(hidden, p[2]);
                         },
                         Normal({5, 3}, 3),
                         {"linear", "linear", "linear"}});
}

TEST(LinearRuleTest, ADetachedUseDoesNotCount) {
  ExpectMatchesAutograd({{{"weight", Normal({3, 3}, 1)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return at::linear(at::linear(x, p[0]).tanh(),
                                             p[0].detach());
                         },
                         Normal({5, 3}, 3),
                         {"linear"}});
}

TEST(LinearRuleTest, AColumnSliceFallsBackToAutograd) {
  ExpectMatchesAutograd({{{"weight", Normal({2, 6}, 1)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return at::linear(x, p[0].slice(1, 0, 3));
                         },
                         Normal({5, 3}, 3),
                         {"autograd"}});
}

TEST(LinearRuleTest, AComputedWeightFallsBackToAutograd) {
  ExpectMatchesAutograd({{{"weight", Normal({2, 3}, 1)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return at::linear(x, p[0].div(p[0].norm()));
                         },
                         Normal({5, 3}, 3),
                         {"autograd"}});
}

TEST(LinearRuleTest, FeaturesOfLengthOne) {
  ExpectMatchesAutograd(
      {{{"first", Normal({4, 1}, 1)}, {"second", Normal({1, 4}, 2)}},
       [](const Tensors& p, const at::Tensor& x) {
         return at::linear(at::linear(x, p[0]).tanh(), p[1]);
       },
       Normal({5, 1}, 3),
       {"linear", "linear"}});
}

}  // namespace
}  // namespace influence
