// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "examples/digits/digits_network.h"

#include <cmath>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/full.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "examples/digits/digits_data.h"
#include "gmock/gmock.h"
#include "gradients/model.h"
#include "gradients/script_model.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// 60 images that the network can tell apart: class k has pixels 6k to 6k + 5
// dark, and each image one more pixel of its own.
DigitImages StripedImages() {
  constexpr int64_t kCount = 60;
  at::Tensor x = at::zeros({kCount, kDigitPixels}, at::kDouble);
  const at::Tensor y =
      at::arange(kCount, at::kLong).remainder(kNumDigits).contiguous();
  for (int64_t n = 0; n < kCount; ++n) {
    const int64_t first = 6 * (n % kNumDigits);
    x[n].slice(0, first, first + 6).fill_(1);
    x[n][n].fill_(0.5);
  }
  return {{x}, y};
}

// The objective by the header's formula.
double Objective(const Model& model, const DigitImages& data,
                 const at::Tensor& weights, double weight_decay) {
  const at::NoGradGuard no_grad;
  auto logits = model.Forward(data.x);
  INFLUENCE_EXPECT_OK(logits);
  const at::Tensor losses =
      logits->log_softmax(1).gather(1, data.y.unsqueeze(1)).squeeze(1).neg();
  double objective = losses.dot(weights).item<double>();
  for (const NamedParameter& parameter : model.parameters()) {
    objective +=
        0.5 * weight_decay * parameter.tensor.square().sum().item<double>();
  }
  return objective;
}

TEST(TrainNetworkTest, EndsAtAMinimumOfTheObjective) {
  const DigitImages data = StripedImages();
  const TrainingOptions options = {.weight_decay = 0.01};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const TrainedNetwork network,
                                 TrainNetwork(data, options));
  EXPECT_EQ(network.model->num_parameters(), 2410);
  EXPECT_LE(network.largest_gradient, options.gradient_tolerance);
  EXPECT_GT(network.num_evaluations, 1);

  const at::Tensor weights = at::full({60}, 1. / 60, at::kDouble);
  EXPECT_NEAR(Objective(*network.model, data, weights, 0.01), network.objective,
              1e-12);
  // No small step along a coordinate leads further down.
  const at::NoGradGuard no_grad;
  for (const NamedParameter& parameter : network.model->parameters()) {
    at::Tensor entry = parameter.tensor.view({-1})[0];
    for (const double step : {1e-2, -1e-2}) {
      entry.add_(step);
      EXPECT_GT(Objective(*network.model, data, weights, 0.01),
                network.objective)
          << parameter.name;
      entry.sub_(step);
    }
  }
}

TEST(TrainNetworkTest, HasTheLayersItPromises) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const TrainedNetwork network,
      TrainNetwork(StripedImages(), {.max_iterations = 1}));
  std::vector<std::string> names;
  for (const NamedParameter& parameter : network.model->parameters()) {
    names.push_back(parameter.name);
    EXPECT_EQ(parameter.tensor.scalar_type(), at::kDouble);
  }
  EXPECT_THAT(names, ElementsAre("hidden.weight", "hidden.bias",
                                 "output.weight", "output.bias"));
}

TEST(TrainNetworkTest, IsTheSameForTheSameSeed) {
  const DigitImages data = StripedImages();
  const auto first_weight = [&](uint64_t seed) {
    auto network = TrainNetwork(data, {.max_iterations = 3, .seed = seed});
    INFLUENCE_EXPECT_OK(network);
    return network->model->parameters()[0].tensor;
  };
  EXPECT_TRUE(at::equal(first_weight(1), first_weight(1)));
  EXPECT_FALSE(at::equal(first_weight(1), first_weight(2)));
}

TEST(TrainNetworkTest, NamesWhatIsOutOfRange) {
  const DigitImages data = StripedImages();
  EXPECT_THAT(
      TrainNetwork(data, {.weight_decay = 0}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("weight_decay")));
  EXPECT_THAT(TrainNetwork(data, {.max_iterations = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("max_iterations")));
  EXPECT_THAT(TrainNetwork(data, {.gradient_tolerance = -1}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("gradient_tolerance")));
  EXPECT_THAT(
      TrainNetwork({{at::zeros({3, 5}, at::kDouble)}, at::zeros({3})}, {}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[3, 5]")));
}

TEST(RetrainWithoutTest, IsAtTheMinimumOfTheOtherSamples) {
  const DigitImages data = StripedImages();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const TrainedNetwork network,
                                 TrainNetwork(data, {}));
  const at::Tensor before = network.model->parameters()[0].tensor.clone();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const TrainedNetwork without,
                                 RetrainWithout(network, data, {3, 17}, {}));
  at::Tensor weights = at::full({60}, 1. / 60, at::kDouble);
  weights[3] = 0;
  weights[17] = 0;
  EXPECT_NEAR(Objective(*without.model, data, weights, 0.01), without.objective,
              1e-12);
  EXPECT_LE(without.largest_gradient, 1e-7);
  EXPECT_LT(without.objective, Objective(*network.model, data, weights, 0.01));
  EXPECT_TRUE(at::equal(network.model->parameters()[0].tensor, before));
}

TEST(RetrainWithoutTest, WithoutNothingIsAlreadyThere) {
  const DigitImages data = StripedImages();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const TrainedNetwork network,
                                 TrainNetwork(data, {}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const TrainedNetwork same,
                                 RetrainWithout(network, data, {}, {}));
  EXPECT_EQ(same.num_evaluations, 1);
  EXPECT_TRUE(at::equal(same.model->parameters()[0].tensor,
                        network.model->parameters()[0].tensor));
}

TEST(RetrainWithoutTest, NamesAnUnknownSample) {
  const DigitImages data = StripedImages();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const TrainedNetwork network,
                                 TrainNetwork(data, {.max_iterations = 1}));
  EXPECT_THAT(RetrainWithout(network, data, {60}, {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("left_out: found 60, expected [0, 60)")));
}

TEST(WriteTorchScriptTest, TheFileIsTheSameModel) {
  const DigitImages data = StripedImages();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const TrainedNetwork network,
                                 TrainNetwork(data, {.max_iterations = 20}));
  const std::string path =
      absl::StrCat(::testing::TempDir(), "/digits_network.pt");
  INFLUENCE_ASSERT_OK(WriteTorchScript(network, path));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const Model> loaded,
                                 LoadScriptModel(path));
  ASSERT_EQ(loaded->parameters().size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(loaded->parameters()[i].name,
              network.model->parameters()[i].name);
    EXPECT_TRUE(at::equal(loaded->parameters()[i].tensor,
                          network.model->parameters()[i].tensor));
  }
  EXPECT_THAT(loaded->CouplingModules(), ElementsAre());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                                 network.model->Forward(data.x));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor logits,
                                 loaded->Forward(data.x));
  EXPECT_TRUE(logits.allclose(expected, 1e-12, 1e-12));
}

TEST(WriteTorchScriptTest, NamesAFileThatCannotBeWritten) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const TrainedNetwork network,
      TrainNetwork(StripedImages(), {.max_iterations = 1}));
  const std::string path =
      absl::StrCat(::testing::TempDir(), "/no_such_folder/model.pt");
  EXPECT_THAT(WriteTorchScript(network, path),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr(path)));
}

}  // namespace
}  // namespace influence
