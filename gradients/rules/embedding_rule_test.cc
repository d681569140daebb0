// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/rules/embedding_rule.h"

#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/embedding.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/tensor.h"
#include "gradients/rules/rule_testing.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

using Tensors = std::vector<at::Tensor>;

// Repeated tokens within a sample and between samples.
at::Tensor Tokens() {
  return at::tensor({0, 1, 1, 2, 2, 2, 3, 0, 4, 1, 4, 0, 3, 3, 1}, at::kLong)
      .view({5, 3});
}

TEST(EmbeddingRuleTest, RepeatedTokens) {
  ExpectMatchesAutograd({{{"weight", Normal({5, 2}, 1)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return at::embedding(p[0], x);
                         },
                         Tokens(),
                         {"embedding"}});
}

TEST(EmbeddingRuleTest, PaddingReceivesNoGradient) {
  ExpectMatchesAutograd({{{"weight", Normal({5, 2}, 1)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return at::embedding(p[0], x, /*padding_idx=*/1);
                         },
                         Tokens(),
                         {"embedding"}});
}

TEST(EmbeddingRuleTest, OneTokenASample) {
  ExpectMatchesAutograd({{{"weight", Normal({5, 2}, 1)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return at::embedding(p[0], x.select(1, 0));
                         },
                         Tokens(),
                         {"embedding"}});
}

TEST(EmbeddingRuleTest, SequenceFirst) {
  ExpectMatchesAutograd({{{"weight", Normal({5, 2}, 1)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return at::embedding(p[0], x.t()).transpose(0, 1);
                         },
                         Tokens(),
                         {"embedding"}});
}

TEST(EmbeddingRuleTest, TiedWithTheDecoder) {
  ExpectMatchesAutograd({{{"weight", Normal({5, 2}, 1)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return at::linear(at::embedding(p[0], x).tanh(),
                                             p[0]);
                         },
                         Tokens(),
                         {"embedding+linear"}});
}

TEST(EmbeddingRuleTest, PositionsAreTheSameForEverySample) {
  const at::Tensor positions = at::tensor({2, 0, 2}, at::kLong);
  ExpectMatchesAutograd(
      {{{"tokens", Normal({5, 2}, 1)}, {"positions", Normal({4, 2}, 2)}},
       [positions](const Tensors& p, const at::Tensor& x) {
         return at::embedding(p[0], x)
             .add(at::embedding(p[1], positions).unsqueeze(0))
             .tanh();
       },
       Tokens(),
       {"embedding", "embedding"}});
}

TEST(EmbeddingRuleTest, TwoKindsOfPositions) {
  const at::Tensor rows = at::tensor({2, 0, 2}, at::kLong);
  const at::Tensor columns = at::tensor({1, 3, 1}, at::kLong);
  ExpectMatchesAutograd({{{"tokens", Normal({5, 2}, 1)},
                          {"rows", Normal({4, 2}, 2)},
                          {"columns", Normal({4, 2}, 4)}},
                         [=](const Tensors& p, const at::Tensor& x) {
                           return at::embedding(p[0], x)
                               .add(at::embedding(p[1], rows))
                               .mul(at::embedding(p[2], columns))
                               .tanh();
                         },
                         Tokens(),
                         {"embedding", "embedding", "embedding"}});
}

TEST(EmbeddingRuleTest, PositionsUsedByALinearLayerFallBackToAutograd) {
  const at::Tensor positions = at::tensor({2, 0, 2}, at::kLong);
  ExpectMatchesAutograd(
      {{{"tokens", Normal({5, 2}, 1)}, {"positions", Normal({4, 2}, 2)}},
       [positions](const Tensors& p, const at::Tensor& x) {
         return at::linear(at::embedding(p[0], x),
                           at::embedding(p[1], positions));
       },
       Tokens(),
       {"embedding", "autograd"}});
}

TEST(EmbeddingRuleTest, ScalingByFrequencyFallsBackToAutograd) {
  ExpectMatchesAutograd({{{"weight", Normal({5, 2}, 1)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return at::embedding(p[0], x, -1,
                                                /*scale_grad_by_freq=*/true);
                         },
                         Tokens(),
                         {"autograd"}});
}

}  // namespace
}  // namespace influence
