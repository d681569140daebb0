// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "benchmarks/benchmark_models.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "gradients/batch.h"
#include "gradients/model.h"
#include "gradients/module_model.h"
#include "torch/torch.h"

namespace influence {
namespace {

constexpr int64_t kWidth = 128;
constexpr int64_t kHeads = 4;
constexpr int64_t kTokens = 128;
constexpr int64_t kVocabulary = 256;

struct Mlp : torch::nn::Module {
  Mlp() {
    first = register_module("first", torch::nn::Linear(784, 512));
    second = register_module("second", torch::nn::Linear(512, 256));
    out = register_module("out", torch::nn::Linear(256, 10));
  }
  at::Tensor forward(const at::Tensor& x) {
    return out(torch::relu(second(torch::relu(first(x)))));
  }
  torch::nn::Linear first{nullptr}, second{nullptr}, out{nullptr};
};

struct Cnn : torch::nn::Module {
  Cnn() {
    using torch::nn::Conv2dOptions;
    first = register_module(
        "first", torch::nn::Conv2d(Conv2dOptions(1, 16, 3).padding(1)));
    second = register_module(
        "second", torch::nn::Conv2d(Conv2dOptions(16, 32, 3).padding(1)));
    hidden = register_module("hidden", torch::nn::Linear(1568, 128));
    out = register_module("out", torch::nn::Linear(128, 10));
  }
  at::Tensor forward(at::Tensor x) {
    x = torch::max_pool2d(torch::relu(first(x)), 2);
    x = torch::max_pool2d(torch::relu(second(x)), 2);
    return out(torch::relu(hidden(x.flatten(1))));
  }
  torch::nn::Conv2d first{nullptr}, second{nullptr};
  torch::nn::Linear hidden{nullptr}, out{nullptr};
};

struct Block : torch::nn::Module {
  Block() {
    using torch::nn::LayerNormOptions;
    norm1 = register_module("norm1",
                            torch::nn::LayerNorm(LayerNormOptions({kWidth})));
    qkv = register_module("qkv", torch::nn::Linear(kWidth, 3 * kWidth));
    projection =
        register_module("projection", torch::nn::Linear(kWidth, kWidth));
    norm2 = register_module("norm2",
                            torch::nn::LayerNorm(LayerNormOptions({kWidth})));
    up = register_module("up", torch::nn::Linear(kWidth, 4 * kWidth));
    down = register_module("down", torch::nn::Linear(4 * kWidth, kWidth));
  }
  at::Tensor forward(at::Tensor x) {
    const int64_t n = x.size(0), t = x.size(1);
    const auto heads = [&](const at::Tensor& part) {
      return part.view({n, t, kHeads, kWidth / kHeads}).transpose(1, 2);
    };
    const std::vector<at::Tensor> parts = qkv(norm1(x)).chunk(3, -1);
    const at::Tensor attended = at::scaled_dot_product_attention(
        heads(parts[0]), heads(parts[1]), heads(parts[2]), {}, 0.0,
        /*is_causal=*/true);
    x = x + projection(attended.transpose(1, 2).reshape({n, t, kWidth}));
    return x + down(torch::gelu(up(norm2(x))));
  }
  torch::nn::LayerNorm norm1{nullptr}, norm2{nullptr};
  torch::nn::Linear qkv{nullptr}, projection{nullptr}, up{nullptr},
      down{nullptr};
};

struct Transformer : torch::nn::Module {
  Transformer() {
    tokens =
        register_module("tokens", torch::nn::Embedding(kVocabulary, kWidth));
    position =
        register_parameter("position", torch::randn({kTokens, kWidth}) * 0.02);
    for (int i = 0; i < 4; ++i) {
      blocks.push_back(register_module("block" + std::to_string(i),
                                       std::make_shared<Block>()));
    }
    out = register_module("out", torch::nn::Linear(kWidth, kVocabulary));
  }
  at::Tensor forward(const at::Tensor& x) {
    at::Tensor hidden = tokens(x) + position;
    for (const auto& block : blocks) hidden = block->forward(hidden);
    return out(hidden);
  }
  torch::nn::Embedding tokens{nullptr};
  at::Tensor position;
  std::vector<std::shared_ptr<Block>> blocks;
  torch::nn::Linear out{nullptr};
};

template <typename Module>
std::shared_ptr<const Model> Make() {
  auto module = std::make_shared<Module>();
  module->eval();
  absl::StatusOr<std::shared_ptr<const Model>> model =
      CreateModuleModel(std::move(module));
  INFLUENCE_CHECK(model.ok());
  return *model;
}

}  // namespace

BenchmarkProblem MakeBenchmarkProblem(BenchmarkModel model,
                                      int64_t num_samples) {
  torch::manual_seed(1);
  const at::Tensor classes = torch::randint(10, {num_samples});
  switch (model) {
    case BenchmarkModel::kMlp:
      return {Make<Mlp>(), {{torch::randn({num_samples, 784})}, classes}};
    case BenchmarkModel::kCnn:
      return {Make<Cnn>(), {{torch::randn({num_samples, 1, 28, 28})}, classes}};
    case BenchmarkModel::kTransformer:
      return {Make<Transformer>(),
              {{torch::randint(kVocabulary, {num_samples, kTokens})},
               torch::randint(kVocabulary, {num_samples, kTokens})}};
  }
  INFLUENCE_CHECK(false);
}

}  // namespace influence
