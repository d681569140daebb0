// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/problem_testing.h"

#include <cmath>
#include <cstddef>
#include <random>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/tanh.h"
#include "ATen/ops/zeros.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "tests/support/function_model.h"
#include "torch/csrc/autograd/autograd.h"

namespace influence {
namespace {

// Uniform in [0, 1) with 53 bits; std::uniform_real_distribution is not the
// same everywhere.
double Uniform(std::mt19937_64& engine) {
  return static_cast<double>(engine() >> 11) * 0x1.0p-53;
}

}  // namespace

at::Tensor SeededNormal(const std::vector<int64_t>& shape, at::ScalarType dtype,
                        uint64_t seed, double scale) {
  std::mt19937_64 engine(seed);
  at::Tensor tensor = at::empty(shape, at::kDouble);
  double* data = tensor.data_ptr<double>();
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    const double radius = std::sqrt(-2 * std::log(1 - Uniform(engine)));
    data[i] = scale * radius * std::cos(2 * M_PI * Uniform(engine));
  }
  return tensor.to(dtype);
}

at::Tensor SeededLabels(int64_t size, int64_t num_classes, uint64_t seed) {
  std::mt19937_64 engine(seed);
  at::Tensor labels = at::empty({size}, at::kLong);
  int64_t* data = labels.data_ptr<int64_t>();
  for (int64_t i = 0; i < size; ++i) {
    data[i] = static_cast<int64_t>(Uniform(engine) *
                                   static_cast<double>(num_classes));
  }
  return labels;
}

std::shared_ptr<const Model> TanhMlp(const std::vector<int64_t>& widths,
                                     at::ScalarType dtype, uint64_t seed,
                                     bool bias) {
  struct Layer {
    at::Tensor weight;
    at::Tensor bias;  // Undefined without.
  };
  std::vector<NamedParameter> parameters;
  std::vector<Layer> layers;
  for (size_t i = 0; i + 1 < widths.size(); ++i) {
    const int64_t in = widths[i];
    const int64_t out = widths[i + 1];
    Layer layer;
    layer.weight =
        ParameterLike(SeededNormal({out, in}, dtype, seed + 2 * i,
                                   1 / std::sqrt(static_cast<double>(in))));
    parameters.push_back({absl::StrCat(2 * i, ".weight"), layer.weight});
    if (bias) {
      layer.bias =
          ParameterLike(SeededNormal({out}, dtype, seed + 2 * i + 1, 0.1));
      parameters.push_back({absl::StrCat(2 * i, ".bias"), layer.bias});
    }
    layers.push_back(std::move(layer));
  }
  return std::make_shared<const FunctionModel>(
      parameters, [layers](const std::vector<at::Tensor>& x) {
        at::Tensor h = x[0];
        for (size_t i = 0; i < layers.size(); ++i) {
          if (i > 0) h = at::tanh(h);
          h = at::linear(h, layers[i].weight, layers[i].bias);
        }
        return h;
      });
}

Batch SeededClassification(int64_t size, int64_t num_features,
                           int64_t num_classes, at::ScalarType dtype,
                           uint64_t seed) {
  return {{SeededNormal({size, num_features}, dtype, seed)},
          SeededLabels(size, num_classes, seed + 1)};
}

at::Tensor HessianByDifferences(const GradientProvider& provider,
                                const Batch& batch) {
  constexpr double kStep = 1e-5;
  const auto mean_gradient = [&] {
    absl::StatusOr<at::Tensor> grads = provider.FlatGrads(batch);
    INFLUENCE_CHECK(grads.ok());
    return grads->mean(0);
  };
  at::Tensor hessian = at::empty(
      {provider.num_parameters(), provider.num_parameters()}, at::kDouble);
  int64_t row = 0;
  for (const int64_t index : provider.selection()) {
    const at::Tensor values =
        provider.model().parameters()[index].tensor.detach().view({-1});
    for (int64_t i = 0; i < values.numel(); ++i, ++row) {
      const at::Tensor entry = values.narrow(0, i, 1);
      const double value = entry.item<double>();
      entry.fill_(value + kStep);
      const at::Tensor above = mean_gradient();
      entry.fill_(value - kStep);
      const at::Tensor below = mean_gradient();
      entry.fill_(value);
      hessian[row].copy_(above.sub(below).div_(2 * kStep));
    }
  }
  return hessian;
}

at::Tensor DenseGaussNewton(const GradientProvider& provider,
                            const Batch& batch) {
  absl::StatusOr<at::Tensor> grads = provider.FlatGrads(batch);
  INFLUENCE_CHECK(grads.ok());
  const at::Tensor g = grads->to(at::kDouble);
  return g.t().matmul(g).div(static_cast<double>(batch.size()));
}

at::Tensor DenseGeneralizedGaussNewton(const GradientProvider& provider,
                                       const Batch& batch) {
  at::AutoGradMode enable_grad(true);
  std::vector<at::Tensor> parameters;
  for (const int64_t index : provider.selection()) {
    parameters.push_back(provider.model().parameters()[index].tensor);
  }
  const int64_t size = provider.num_parameters();
  at::Tensor sum = at::zeros({size, size}, at::kDouble);
  for (int64_t n = 0; n < batch.size(); ++n) {
    absl::StatusOr<Batch> one = SliceBatch(batch, n, n + 1);
    INFLUENCE_CHECK(one.ok());
    absl::StatusOr<at::Tensor> output = provider.model().Forward(one->x);
    INFLUENCE_CHECK(output.ok());
    const at::Tensor leaf = output->detach().requires_grad_(true);
    absl::StatusOr<at::Tensor> loss =
        provider.function().Evaluate(leaf, one->y);
    INFLUENCE_CHECK(loss.ok());
    const at::Tensor gradient =
        torch::autograd::grad({loss->sum()}, {leaf}, {}, true, true)[0];
    const int64_t num_outputs = leaf.numel();
    at::Tensor jacobian = at::zeros({num_outputs, size}, at::kDouble);
    at::Tensor hessian = at::zeros({num_outputs, num_outputs}, at::kDouble);
    for (int64_t k = 0; k < num_outputs; ++k) {
      const auto rows = torch::autograd::grad(
          {output->reshape({-1})[k]}, parameters, {}, true, false, true);
      int64_t offset = 0;
      for (size_t p = 0; p < rows.size(); ++p) {
        const int64_t numel = parameters[p].numel();
        if (rows[p].defined()) {
          jacobian[k].narrow(0, offset, numel).copy_(rows[p].reshape({-1}));
        }
        offset += numel;
      }
      hessian[k].copy_(torch::autograd::grad({gradient.reshape({-1})[k]},
                                             {leaf}, {}, true)[0]
                           .reshape({-1}));
    }
    sum.add_(jacobian.t().matmul(hessian.matmul(jacobian)));
  }
  return sum.div_(static_cast<double>(batch.size()));
}

}  // namespace influence
