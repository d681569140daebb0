// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/problem_testing.h"

#include <cmath>
#include <cstddef>
#include <random>
#include <utility>

#include "ATen/ops/empty.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/tanh.h"
#include "absl/strings/str_cat.h"
#include "tests/support/function_model.h"

namespace influence {
namespace {

// Uniform in [0, 1) with 53 bits; std::uniform_real_distribution is not the
// same everywhere.
double Uniform(std::mt19937_64& engine) {
  return static_cast<double>(engine() >> 11) * 0x1.0p-53;
}

}  // namespace

at::Tensor SeededNormal(std::vector<int64_t> shape, at::ScalarType dtype,
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

}  // namespace influence
