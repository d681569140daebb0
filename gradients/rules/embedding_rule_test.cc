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
