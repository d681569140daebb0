// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/module_model.h"

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/ones.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/model.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"
#include "torch/nn/modules/activation.h"
#include "torch/nn/modules/batchnorm.h"
#include "torch/nn/modules/container/sequential.h"
#include "torch/nn/modules/dropout.h"
#include "torch/nn/modules/embedding.h"
#include "torch/nn/modules/linear.h"
#include "torch/nn/modules/normalization.h"
#include "torch/nn/modules/rnn.h"

namespace influence {
namespace {

namespace nn = torch::nn;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct TwoInputs : nn::Module {
  TwoInputs() {
    left = register_module("left", nn::Linear(2, 3));
    right = register_module("right", nn::Linear(4, 3));
  }
  at::Tensor forward(const at::Tensor& a, const at::Tensor& b) {
    return left(a).add(right(b));
  }
  nn::Linear left = nullptr;
  nn::Linear right = nullptr;
};

// The head's weight is the embedding's, under a second name.
struct TiedHead : nn::Module {
  explicit TiedHead(const at::Tensor& shared) {
    weight = register_parameter("weight", shared);
  }
  at::Tensor weight;
};

struct Tied : nn::Module {
  Tied() {
    embedding = register_module("embedding", nn::Embedding(5, 3));
    head =
        register_module("head", std::make_shared<TiedHead>(embedding->weight));
  }
  at::Tensor forward(const at::Tensor& x) {
    return embedding(x).matmul(head->weight.t()).sum(1);
  }
  nn::Embedding embedding = nullptr;
  std::shared_ptr<TiedHead> head;
};

// forward() takes a default that is no tensor.
struct Scaled : nn::Module {
  Scaled() { weight = register_parameter("weight", at::ones({2})); }
  at::Tensor forward(const at::Tensor& x, double scale = 2.0) {
    return x.mul(weight).mul(scale);
  }
  at::Tensor weight;
};

std::shared_ptr<const Model> ModelOf(std::shared_ptr<nn::Module> module) {
  const auto model = CreateModuleModel(
      std::move(module), [](const std::vector<at::Tensor>& x) { return x[0]; },
      1);
  EXPECT_THAT(model, IsOk());
  return model.value_or(nullptr);
}

std::vector<std::string> CouplingModules(nn::Sequential module) {
  return ModelOf(module.ptr())->CouplingModules();
}

TEST(ModuleModelTest, ParametersAreNamedAsInTheModule) {
  nn::Sequential module(nn::Linear(2, 3), nn::Tanh(), nn::Linear(3, 1));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const Model> model,
                                 CreateModuleModel(module.ptr()));
  std::vector<std::string> names;
  for (const NamedParameter& parameter : model->parameters()) {
    names.push_back(parameter.name);
  }
  EXPECT_THAT(names, ElementsAre("0.weight", "0.bias", "2.weight", "2.bias"));
  EXPECT_EQ(model->num_parameters(), 13);
  EXPECT_EQ(model->dtype(), at::kFloat);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor output,
                                 model->Forward({at::ones({4, 2})}));
  EXPECT_THAT(output, TensorNear(module->forward(at::ones({4, 2})), 0));
}

TEST(ModuleModelTest, TakesAsManyInputsAsForwardDoes) {
  const auto module = std::make_shared<TwoInputs>();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const Model> model,
                                 CreateModuleModel(module));
  const at::Tensor a = at::ones({3, 2});
  const at::Tensor b = at::ones({3, 4}).mul(0.5);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor output,
                                 model->Forward({a, b}));
  EXPECT_THAT(output, TensorNear(module->forward(a, b), 0));
  EXPECT_THAT(model->Forward({a}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       std::string("model inputs: found 1, expected 2")));
}

TEST(ModuleModelTest, DefaultArgumentsStayDefault) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const Model> model,
                                 CreateModuleModel(std::make_shared<Scaled>()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor output,
                                 model->Forward({at::ones({1, 2})}));
  EXPECT_THAT(output, TensorNear(at::ones({1, 2}).mul(2), 0));
}

TEST(ModuleModelTest, ASharedTensorCountsOnce) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const Model> model,
                                 CreateModuleModel(std::make_shared<Tied>()));
  ASSERT_EQ(model->parameters().size(), 1u);
  EXPECT_EQ(model->parameters()[0].name, "embedding.weight");
  EXPECT_EQ(model->num_parameters(), 15);
}

TEST(ModuleModelTest, FrozenLayersAreLeftOut) {
  nn::Linear frozen(2, 3);
  frozen->weight.set_requires_grad(false);
  frozen->bias.set_requires_grad(false);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<const Model> model,
      CreateModuleModel(nn::Sequential(frozen, nn::Linear(3, 1)).ptr()));
  EXPECT_EQ(model->num_parameters(), 4);
  EXPECT_THAT(CreateModuleModel(nn::Sequential(frozen).ptr()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found no trainable parameter")));
}

TEST(ModuleModelTest, RefusesAParameterThatIsNotFinite) {
  nn::Linear linear(2, 3);
  linear->bias.data()[1] = std::nan("");
  EXPECT_THAT(CreateModuleModel(nn::Sequential(linear).ptr()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("parameter 0.bias: found NaN at index [1]")));
}

TEST(ModuleModelTest, AFailingForwardIsAStatus) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<const Model> model,
      CreateModuleModel(nn::Sequential(nn::Linear(2, 3)).ptr()));
  EXPECT_THAT(model->Forward({at::ones({4, 5})}),
              StatusIs(absl::StatusCode::kInternal,
                       HasSubstr("shapes cannot be multiplied")));
}

TEST(ModuleModelTest, RefusesWhatIsMissing) {
  EXPECT_THAT(CreateModuleModel(
                  nullptr, [](const auto& x) { return x[0]; }, 1),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found no module")));
  EXPECT_THAT(CreateModuleModel(nn::Linear(1, 1).ptr(), nullptr, 1),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found no forward")));
  EXPECT_THAT(CreateModuleModel(
                  nn::Linear(1, 1).ptr(),
                  [](const std::vector<at::Tensor>& x) { return x[0]; }, 0),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("model inputs: found 0")));
}

TEST(ModuleModelTest, NamesModulesThatCoupleSamplesInTrainingMode) {
  nn::Sequential module(nn::Linear(2, 2), nn::BatchNorm1d(2), nn::Dropout(0.1),
                        nn::LayerNorm(nn::LayerNormOptions({2})), nn::RReLU(),
                        nn::BatchNorm2d(2), nn::Dropout2d(0.2),
                        nn::AlphaDropout(0.3));
  EXPECT_THAT(
      CouplingModules(module),
      ElementsAre("1 (BatchNorm1d in training mode)",
                  "2 (Dropout in training mode)", "4 (RReLU in training mode)",
                  "5 (BatchNorm2d in training mode)",
                  "6 (Dropout2d in training mode)",
                  "7 (AlphaDropout in training mode)"));
  module->eval();
  EXPECT_THAT(CouplingModules(module), IsEmpty());
}

TEST(ModuleModelTest, ModulesThatDoNothingByChanceAreNoCoupling) {
  EXPECT_THAT(CouplingModules(
                  nn::Sequential(nn::Linear(2, 2), nn::Dropout(0.0),
                                 nn::LSTM(nn::LSTMOptions(2, 2).dropout(0.5)))),
              IsEmpty());
  EXPECT_THAT(CouplingModules(nn::Sequential(
                  nn::LSTM(nn::LSTMOptions(2, 2).num_layers(2).dropout(0.5)),
                  nn::MultiheadAttention(
                      nn::MultiheadAttentionOptions(2, 1).dropout(0.5)))),
              ElementsAre("0 (LSTM in training mode)",
                          "1 (MultiheadAttention in training mode)"));
}

TEST(ModuleModelTest, BatchStatisticsInEvaluationModeAreCoupling) {
  nn::Sequential module(
      nn::Linear(2, 2),
      nn::BatchNorm1d(nn::BatchNormOptions(2).track_running_stats(false)));
  module->eval();
  EXPECT_THAT(CouplingModules(module),
              ElementsAre("1 (BatchNorm1d without running statistics)"));
}

TEST(ModuleModelTest, TheRootIsCalledModel) {
  EXPECT_THAT(ModelOf(nn::BatchNorm1d(2).ptr())->CouplingModules(),
              ElementsAre("model (BatchNorm1d in training mode)"));
}

}  // namespace
}  // namespace influence
