// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/capturing_gradient_provider.h"

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gradients/affine_layers.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/coverage_report.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/module_model.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"
#include "torch/torch.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr double kTolerance = 1e-10;

at::Tensor Random(at::IntArrayRef shape) {
  return torch::randn(shape, torch::kDouble);
}

at::Tensor Labels(int64_t n, int64_t num_classes) {
  return torch::arange(n).remainder(num_classes);
}

// A module made of a forward function over submodules that it registers.
template <typename Module>
std::shared_ptr<const Model> Wrap(std::shared_ptr<Module> module) {
  module->to(torch::kDouble);
  auto model = CreateModuleModel(std::move(module));
  EXPECT_THAT(model, IsOk());
  return *model;
}

struct Providers {
  std::shared_ptr<const CapturingGradientProvider> capturing;
  std::shared_ptr<const AutogradGradientProvider> reference;
};

Providers MakeProviders(const std::shared_ptr<const Model>& model,
                        const PerSampleFunction& loss, const Batch& probe) {
  auto capturing = CapturingGradientProvider::Create(model, loss, probe);
  EXPECT_THAT(capturing, IsOk());
  auto reference = AutogradGradientProvider::Create(model, loss);
  EXPECT_THAT(reference, IsOk());
  return {*capturing, *reference};
}

// Whole gradient and parameter by parameter, for several batch sizes.
void ExpectMatches(const Providers& providers, const Batch& data) {
  for (const int64_t size : {int64_t{1}, int64_t{2}, data.size()}) {
    SCOPED_TRACE(testing::Message() << "batch size " << size);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch batch,
                                   SliceBatch(data, 0, size));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                                   providers.reference->FlatGrads(batch));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found,
                                   providers.capturing->FlatGrads(batch));
    EXPECT_THAT(found, TensorNear(expected, kTolerance));
    int64_t offset = 0;
    for (const NamedParameter& parameter :
         providers.reference->model().parameters()) {
      SCOPED_TRACE(parameter.name);
      const int64_t length = parameter.tensor.numel();
      EXPECT_THAT(found.narrow(1, offset, length),
                  TensorNear(expected.narrow(1, offset, length), kTolerance));
      offset += length;
    }
  }
}

void ExpectRules(const CapturingGradientProvider& provider,
                 const std::vector<std::string>& rules) {
  std::vector<std::string> found;
  for (const ParameterCoverage& coverage : provider.coverage().parameters) {
    found.push_back(coverage.rule);
  }
  EXPECT_EQ(found, rules) << provider.coverage().ToString();
}

// The layers as "weight" or "weight + bias".
void ExpectLayers(const CapturingGradientProvider& provider,
                  const std::vector<std::string>& layers) {
  const std::vector<NamedParameter>& parameters = provider.model().parameters();
  std::vector<std::string> found;
  for (const AffineLayer& layer : provider.affine_layers().layers) {
    found.push_back(parameters[layer.weight].name);
    if (!layer.bias.has_value()) continue;
    found.back() += " + " + parameters[*layer.bias].name;
  }
  EXPECT_EQ(found, layers);
}

struct Mlp : torch::nn::Module {
  explicit Mlp(bool bias = true) {
    hidden = register_module(
        "hidden", torch::nn::Linear(torch::nn::LinearOptions(4, 5).bias(bias)));
    out = register_module(
        "out", torch::nn::Linear(torch::nn::LinearOptions(5, 3).bias(bias)));
  }
  at::Tensor forward(at::Tensor x) { return out(torch::tanh(hidden(x))); }
  torch::nn::Linear hidden{nullptr}, out{nullptr};
};

TEST(CapturingGradientProviderTest, MlpWithAndWithoutBias) {
  torch::manual_seed(1);
  const Batch data{{Random({5, 4})}, Labels(5, 3)};
  const Providers with = MakeProviders(Wrap(std::make_shared<Mlp>(true)),
                                       CrossEntropyLoss(), data);
  ExpectMatches(with, data);
  ExpectRules(*with.capturing, {"linear", "linear", "linear", "linear"});
  ExpectLayers(*with.capturing,
               {"hidden.weight + hidden.bias", "out.weight + out.bias"});
  EXPECT_DOUBLE_EQ(with.capturing->coverage().covered_share(), 1);
  const Providers without = MakeProviders(Wrap(std::make_shared<Mlp>(false)),
                                          CrossEntropyLoss(), data);
  ExpectMatches(without, data);
  ExpectRules(*without.capturing, {"linear", "linear"});
  ExpectLayers(*without.capturing, {"hidden.weight", "out.weight"});
}

struct Cnn : torch::nn::Module {
  Cnn() {
    using torch::nn::Conv2dOptions;
    first = register_module(
        "first",
        torch::nn::Conv2d(
            Conv2dOptions(2, 4, 3).padding(1).padding_mode(torch::kReflect)));
    norm = register_module("norm", torch::nn::BatchNorm2d(4));
    second = register_module(
        "second", torch::nn::Conv2d(
                      Conv2dOptions(4, 4, 3).groups(2).stride(2).bias(false)));
    group_norm = register_module(
        "group_norm", torch::nn::GroupNorm(torch::nn::GroupNormOptions(2, 4)));
    up = register_module(
        "up",
        torch::nn::ConvTranspose2d(
            torch::nn::ConvTranspose2dOptions(4, 2, 2).stride(2).output_padding(
                1)));
    out = register_module("out", torch::nn::Linear(2 * 5 * 5, 3));
  }
  at::Tensor forward(at::Tensor x) {
    x = norm(first(x));
    torch::relu_(x);
    x = torch::tanh(group_norm(second(x)));
    return out(up(x).flatten(1));
  }
  torch::nn::Conv2d first{nullptr}, second{nullptr};
  torch::nn::BatchNorm2d norm{nullptr};
  torch::nn::GroupNorm group_norm{nullptr};
  torch::nn::ConvTranspose2d up{nullptr};
  torch::nn::Linear out{nullptr};
};

TEST(CapturingGradientProviderTest, CnnWithGroupsAndReflectPadding) {
  torch::manual_seed(2);
  auto cnn = std::make_shared<Cnn>();
  cnn->norm->running_mean.normal_();
  cnn->norm->running_var.uniform_(0.5, 2);
  cnn->eval();
  const Batch data{{Random({5, 2, 6, 6})}, Labels(5, 3)};
  const Providers providers =
      MakeProviders(Wrap(cnn), CrossEntropyLoss(), data);
  ExpectMatches(providers, data);
  EXPECT_DOUBLE_EQ(providers.capturing->coverage().covered_share(), 1)
      << providers.capturing->coverage().ToString();
  ExpectLayers(
      *providers.capturing,
      {"first.weight + first.bias", "second.weight", "out.weight + out.bias"});
}

struct Attention : torch::nn::Module {
  Attention() {
    embedding = register_module("embedding", torch::nn::Embedding(7, 4));
    norm = register_module(
        "norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({4})));
    attention =
        register_module("attention", torch::nn::MultiheadAttention(4, 2));
    out = register_module("out", torch::nn::Linear(4, 7));
  }
  at::Tensor forward(at::Tensor tokens) {
    at::Tensor x = embedding(tokens).transpose(0, 1);  // [T, N, 4]
    at::Tensor query = norm(x);
    x = x + std::get<0>(attention(query, query, query));
    return out(x).transpose(0, 1);
  }
  torch::nn::Embedding embedding{nullptr};
  torch::nn::LayerNorm norm{nullptr};
  torch::nn::MultiheadAttention attention{nullptr};
  torch::nn::Linear out{nullptr};
};

TEST(CapturingGradientProviderTest, SequenceFirstMultiheadAttention) {
  torch::manual_seed(3);
  const Batch data{{torch::randint(7, {5, 4})}, torch::randint(7, {5, 4})};
  const Providers providers = MakeProviders(Wrap(std::make_shared<Attention>()),
                                            CrossEntropyLoss(), data);
  ExpectMatches(providers, data);
  EXPECT_DOUBLE_EQ(providers.capturing->coverage().covered_share(), 1)
      << providers.capturing->coverage().ToString();
  ExpectLayers(*providers.capturing,
               {"attention.in_proj_weight + attention.in_proj_bias",
                "attention.out_proj.weight + attention.out_proj.bias",
                "out.weight + out.bias"});
}

TEST(CapturingGradientProviderTest, SquaredNormsArePerSampleNotPerToken) {
  torch::manual_seed(3);
  const Batch data{{torch::randint(7, {5, 4})}, torch::randint(7, {5, 4})};
  const Providers providers = MakeProviders(Wrap(std::make_shared<Attention>()),
                                            CrossEntropyLoss(), data);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                                 providers.reference->FlatGrads(data));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients factors,
                                 providers.capturing->FactoredGrads(data));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor norms,
                                 factors.SquaredNorms());
  EXPECT_THAT(norms, TensorNear(expected.square().sum(1), kTolerance));
}

struct TwoInputs : torch::nn::Module {
  TwoInputs() {
    left = register_module("left", torch::nn::Linear(3, 4));
    right = register_module("right", torch::nn::Linear(2, 4));
    scale = register_parameter("scale", torch::randn({4}));
  }
  at::Tensor forward(at::Tensor a, at::Tensor b) {
    return (left(a) * right(b) * scale).sum(1, /*keepdim=*/true);
  }
  torch::nn::Linear left{nullptr}, right{nullptr};
  at::Tensor scale;
};

TEST(CapturingGradientProviderTest, TwoInputsAndARootParameter) {
  torch::manual_seed(4);
  const Batch data{{Random({5, 3}), Random({5, 2})}, Random({5, 1})};
  const Providers providers = MakeProviders(Wrap(std::make_shared<TwoInputs>()),
                                            MeanSquaredErrorLoss(), data);
  ExpectMatches(providers, data);
  ExpectRules(*providers.capturing,
              {"elementwise", "linear", "linear", "linear", "linear"});
}

struct Recurrent : torch::nn::Module {
  Recurrent() {
    lstm = register_module(
        "lstm",
        torch::nn::LSTM(torch::nn::LSTMOptions(3, 4).batch_first(true)));
    slope = register_module("slope", torch::nn::PReLU());
    out = register_module("out", torch::nn::Linear(4, 2));
  }
  at::Tensor forward(at::Tensor x) {
    return out(slope(std::get<0>(lstm(x)).select(1, -1)));
  }
  torch::nn::LSTM lstm{nullptr};
  torch::nn::PReLU slope{nullptr};
  torch::nn::Linear out{nullptr};
};

TEST(CapturingGradientProviderTest, WhatNoRuleCoversIsServedByAutograd) {
  torch::manual_seed(5);
  const Batch data{{Random({5, 6, 3})}, Labels(5, 2)};
  const Providers providers = MakeProviders(Wrap(std::make_shared<Recurrent>()),
                                            CrossEntropyLoss(), data);
  ExpectMatches(providers, data);
  const CoverageReport& coverage = providers.capturing->coverage();
  EXPECT_EQ(coverage.parameters[4].name, "slope.weight");
  EXPECT_FALSE(coverage.parameters[4].covered);
  EXPECT_THAT(coverage.parameters[4].reason, HasSubstr("prelu"));
  EXPECT_EQ(coverage.parameters[5].rule, "linear");
}

TEST(CapturingGradientProviderTest, FrozenAndUnusedParameters) {
  torch::manual_seed(6);
  auto mlp = std::make_shared<Mlp>();
  mlp->hidden->weight.set_requires_grad(false);
  mlp->register_parameter("unused", torch::randn({2}));
  const Batch data{{Random({5, 4})}, Labels(5, 3)};
  const Providers providers =
      MakeProviders(Wrap(mlp), CrossEntropyLoss(), data);
  EXPECT_EQ(providers.capturing->num_parameters(), 2 + 5 + 15 + 3);
  ExpectMatches(providers, data);
  ExpectRules(*providers.capturing, {"unused", "linear", "linear", "linear"});
}

// Its backward is written by hand, so the operators it calls are not in the
// graph and no use of the weight is seen.
struct HandWrittenLinear : torch::autograd::Function<HandWrittenLinear> {
  static at::Tensor forward(torch::autograd::AutogradContext* context,
                            at::Tensor x, at::Tensor weight) {
    context->save_for_backward({x, weight});
    return x.mm(weight.t());
  }
  static torch::autograd::variable_list backward(
      torch::autograd::AutogradContext* context,
      torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    return {gradients[0].mm(saved[1]), gradients[0].t().mm(saved[0])};
  }
};

struct HandWritten : torch::nn::Module {
  HandWritten() {
    weight = register_parameter("weight", torch::randn({3, 4}));
    out = register_module("out", torch::nn::Linear(3, 2));
  }
  at::Tensor forward(at::Tensor x) {
    return out(HandWrittenLinear::apply(x, weight).tanh());
  }
  at::Tensor weight;
  torch::nn::Linear out{nullptr};
};

TEST(CapturingGradientProviderTest, SelfCheckFindsWhatTheObserverMisses) {
  torch::manual_seed(7);
  const Batch data{{Random({5, 4})}, Labels(5, 2)};
  const Providers providers = MakeProviders(
      Wrap(std::make_shared<HandWritten>()), CrossEntropyLoss(), data);
  ExpectMatches(providers, data);
  ExpectRules(*providers.capturing, {"autograd", "linear", "linear"});
  EXPECT_THAT(providers.capturing->coverage().parameters[0].reason,
              HasSubstr("self-check"));
}

struct Branching : torch::nn::Module {
  Branching() {
    small = register_module("small", torch::nn::Linear(4, 3));
    large = register_module("large", torch::nn::Linear(4, 3));
  }
  at::Tensor forward(at::Tensor x) {
    return x.abs().max().item<double>() > 100 ? large(x) : small(x);
  }
  torch::nn::Linear small{nullptr}, large{nullptr};
};

TEST(CapturingGradientProviderTest, ABatchThatTakesAnotherBranch) {
  torch::manual_seed(8);
  const Batch probe{{Random({5, 4})}, Labels(5, 3)};
  const Providers providers = MakeProviders(Wrap(std::make_shared<Branching>()),
                                            CrossEntropyLoss(), probe);
  const Batch other{{Random({5, 4}).mul(1000)}, Labels(5, 3)};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                                 providers.reference->FlatGrads(other));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found,
                                 providers.capturing->FlatGrads(other));
  EXPECT_THAT(found, TensorNear(expected, kTolerance));
}

TEST(CapturingGradientProviderTest, RestrictedToAFewParameters) {
  torch::manual_seed(9);
  const Batch data{{Random({5, 4})}, Labels(5, 3)};
  const Providers providers =
      MakeProviders(Wrap(std::make_shared<Mlp>()), CrossEntropyLoss(), data);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<const GradientProvider> restricted,
      providers.capturing->Restrict({3, 0}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<const GradientProvider> reference,
      providers.reference->Restrict({3, 0}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                                 reference->FlatGrads(data));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found,
                                 restricted->FlatGrads(data));
  EXPECT_EQ(found.size(1), 3 + 20);
  EXPECT_THAT(found, TensorNear(expected, kTolerance));
}

TEST(CapturingGradientProviderTest, AnotherFunctionOfTheSameOutput) {
  torch::manual_seed(10);
  const Batch data{{Random({5, 4})}, Labels(5, 3)};
  const Providers providers =
      MakeProviders(Wrap(std::make_shared<Mlp>()), CrossEntropyLoss(), data);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor expected,
      providers.reference->WithFunction(MarginFunction())->FlatGrads(data));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor found,
      providers.capturing->WithFunction(MarginFunction())->FlatGrads(data));
  EXPECT_THAT(found, TensorNear(expected, kTolerance));
}

TEST(CapturingGradientProviderTest, WorksUnderTheCallersNoGradMode) {
  torch::manual_seed(11);
  const Batch data{{Random({5, 4})}, Labels(5, 3)};
  at::NoGradGuard no_grad;
  const Providers providers =
      MakeProviders(Wrap(std::make_shared<Mlp>()), CrossEntropyLoss(), data);
  ExpectMatches(providers, data);
}

TEST(CapturingGradientProviderTest, OneSampleIsEnoughForTheProbe) {
  torch::manual_seed(12);
  const Batch data{{Random({5, 4})}, Labels(5, 3)};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch probe, SliceBatch(data, 0, 1));
  const Providers providers =
      MakeProviders(Wrap(std::make_shared<Mlp>()), CrossEntropyLoss(), probe);
  ExpectMatches(providers, data);
}

TEST(CapturingGradientProviderTest, NamesBatchNormInTrainingMode) {
  auto cnn = std::make_shared<Cnn>();
  cnn->to(torch::kDouble);
  const at::Tensor before = cnn->norm->running_mean.clone();
  const Batch data{{Random({5, 2, 6, 6})}, Labels(5, 3)};
  EXPECT_THAT(
      CapturingGradientProvider::Create(Wrap(cnn), CrossEntropyLoss(), data),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("norm"), HasSubstr("BatchNorm2d"),
                     HasSubstr("training mode"))));
  EXPECT_TRUE(torch::equal(before, cnn->norm->running_mean));
}

struct FunctionalDropout : torch::nn::Module {
  FunctionalDropout() { out = register_module("out", torch::nn::Linear(4, 3)); }
  at::Tensor forward(at::Tensor x) {
    return out(torch::dropout(x, 0.5, /*train=*/true));
  }
  torch::nn::Linear out{nullptr};
};

TEST(CapturingGradientProviderTest, NamesDropoutThatIsNotAModule) {
  const Batch data{{Random({5, 4})}, Labels(5, 3)};
  EXPECT_THAT(
      CapturingGradientProvider::Create(
          Wrap(std::make_shared<FunctionalDropout>()), CrossEntropyLoss(),
          data),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("aten::dropout")));
}

struct Centering : torch::nn::Module {
  Centering() { out = register_module("out", torch::nn::Linear(4, 3)); }
  at::Tensor forward(at::Tensor x) {
    x = out(x);
    return x - x.mean(0, /*keepdim=*/true);
  }
  torch::nn::Linear out{nullptr};
};

TEST(CapturingGradientProviderTest, RefusesAModelThatCouplesSamples) {
  torch::manual_seed(13);
  const Batch data{{Random({5, 4})}, Labels(5, 3)};
  EXPECT_THAT(
      CapturingGradientProvider::Create(Wrap(std::make_shared<Centering>()),
                                        CrossEntropyLoss(), data),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("depend on that sample alone")));
}

TEST(CapturingGradientProviderTest, RefusesBadBatches) {
  torch::manual_seed(14);
  const Batch data{{Random({5, 4})}, Labels(5, 3)};
  const Providers providers =
      MakeProviders(Wrap(std::make_shared<Mlp>()), CrossEntropyLoss(), data);
  at::Tensor with_nan = Random({5, 4});
  with_nan[2][1] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(providers.capturing->FlatGrads({{with_nan}, Labels(5, 3)}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("NaN")));
  EXPECT_THAT(providers.capturing->FlatGrads({{Random({5, 4})}, Labels(4, 3)}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("4")));
  EXPECT_THAT(
      providers.capturing->FlatGrads({{Random({5, 4})}, Labels(5, 4)}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("found value 3")));
}

TEST(CapturingGradientProviderTest, NamesTheSampleOfAnInfiniteGradient) {
  torch::manual_seed(15);
  const PerSampleFunction scaled(
      "scaled", /*higher_is_better=*/false,
      [](const at::Tensor& output, const at::Tensor& y) {
        return output.sum(1).mul(y).mul(10.0);
      });
  Batch data{{Random({5, 4})}, Random({5})};
  const Providers providers =
      MakeProviders(Wrap(std::make_shared<Mlp>()), scaled, data);
  data.y[3] = 1e308;
  EXPECT_THAT(providers.capturing->FlatGrads(data),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("sample 3"), HasSubstr("finite"))));
}

TEST(CapturingGradientProviderTest, RefusesBadOptions) {
  const Batch data{{Random({5, 4})}, Labels(5, 3)};
  CapturingOptions options;
  options.self_check_samples = 0;
  EXPECT_THAT(
      CapturingGradientProvider::Create(Wrap(std::make_shared<Mlp>()),
                                        CrossEntropyLoss(), data, options),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("self_check_samples: found 0")));
}

}  // namespace
}  // namespace influence
