// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/rules/normalization_rule.h"

#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/batch_norm.h"
#include "ATen/ops/group_norm.h"
#include "ATen/ops/instance_norm.h"
#include "ATen/ops/layer_norm.h"
#include "gradients/rules/rule_testing.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

using Tensors = std::vector<at::Tensor>;

TEST(NormalizationRuleTest, LayerNormOverOneAndTwoDimensions) {
  ExpectMatchesAutograd({{{"weight", Normal({4}, 1)}, {"bias", Normal({4}, 2)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return at::layer_norm(x, {4}, p[0], p[1]);
                         },
                         Normal({5, 3, 4}, 3),
                         {"normalization", "normalization"}});
  ExpectMatchesAutograd(
      {{{"weight", Normal({3, 4}, 1)}, {"bias", Normal({3, 4}, 2)}},
       [](const Tensors& p, const at::Tensor& x) {
         return at::layer_norm(x, {3, 4}, p[0], p[1], 1e-3);
       },
       Normal({5, 2, 3, 4}, 3),
       {"normalization", "normalization"}});
}

TEST(NormalizationRuleTest, LayerNormWithoutBiasAndSequenceFirst) {
  ExpectMatchesAutograd(
      {{{"weight", Normal({4}, 1)}},
       [](const Tensors& p, const at::Tensor& x) {
         return at::layer_norm(x.transpose(0, 1), {4}, p[0]).transpose(0, 1);
       },
       Normal({5, 3, 4}, 3),
       {"normalization"}});
}

TEST(NormalizationRuleTest, GroupNorm) {
  ExpectMatchesAutograd({{{"weight", Normal({4}, 1)}, {"bias", Normal({4}, 2)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return at::group_norm(x, 2, p[0], p[1]);
                         },
                         Normal({5, 4, 3, 2}, 3),
                         {"normalization", "normalization"}});
}

TEST(NormalizationRuleTest, InstanceNorm) {
  ExpectMatchesAutograd({{{"weight", Normal({4}, 1)}, {"bias", Normal({4}, 2)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return at::instance_norm(x, p[0], p[1], {}, {},
                                                    /*use_input_stats=*/true,
                                                    0.1, 1e-5, false);
                         },
                         Normal({5, 4, 3, 2}, 3),
                         {"normalization", "normalization"}});
}

TEST(NormalizationRuleTest, BatchNormWithRunningStatistics) {
  const at::Tensor mean = Normal({4}, 8);
  const at::Tensor variance = Normal({4}, 9).square().add(0.5);
  ExpectMatchesAutograd({{{"weight", Normal({4}, 1)}, {"bias", Normal({4}, 2)}},
                         [=](const Tensors& p, const at::Tensor& x) {
                           return at::batch_norm(x, p[0], p[1], mean, variance,
                                                 /*training=*/false, 0.1, 1e-5,
                                                 false);
                         },
                         Normal({5, 4, 3, 2}, 3),
                         {"normalization", "normalization"}});
  ExpectMatchesAutograd({{{"weight", Normal({4}, 1)}, {"bias", Normal({4}, 2)}},
                         [=](const Tensors& p, const at::Tensor& x) {
                           return at::batch_norm(x, p[0], p[1], mean, variance,
                                                 /*training=*/false, 0.1, 1e-5,
                                                 false);
                         },
                         Normal({5, 4}, 3),
                         {"normalization", "normalization"}});
}

TEST(NormalizationRuleTest, RmsNormWrittenByHand) {
  ExpectMatchesAutograd(
      {{{"weight", Normal({4}, 1)}},
       [](const Tensors& p, const at::Tensor& x) {
         return x.mul(x.square().mean(-1, true).add(1e-6).rsqrt()).mul(p[0]);
       },
       Normal({5, 3, 4}, 3),
       {"elementwise"}});
}

}  // namespace
}  // namespace influence
