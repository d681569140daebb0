// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/rules/rule_testing.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/empty.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/coverage_report.h"
#include "gradients/factored_gradients.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

std::shared_ptr<const Model> MakeModel(const RuleCase& rule_case) {
  std::vector<NamedParameter> parameters;
  std::vector<at::Tensor> tensors;
  for (const auto& [name, tensor] : rule_case.parameters) {
    tensors.push_back(ParameterLike(tensor));
    parameters.push_back(NamedParameter{name, tensors.back()});
  }
  return std::make_shared<FunctionModel>(
      parameters,
      [tensors, forward = rule_case.forward](const std::vector<at::Tensor>& x) {
        return forward(tensors, x[0]);
      });
}

// sum over the elements of o^2 + o * y_n.
PerSampleFunction Loss() {
  return PerSampleFunction(
      "test loss", /*higher_is_better=*/false,
      [](const at::Tensor& output, const at::Tensor& y) {
        const at::Tensor flat = output.reshape({output.size(0), -1});
        return flat.square().add(flat.mul(y.unsqueeze(1))).sum(1);
      });
}

}  // namespace

at::Tensor Normal(at::IntArrayRef shape, uint64_t seed) {
  // splitmix64 and a sum of uniforms: the same numbers with every LibTorch.
  at::Tensor values = at::empty(shape, at::dtype(at::kDouble));
  double* data = values.data_ptr<double>();
  uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  for (int64_t i = 0; i < values.numel(); ++i) {
    double sum = 0;
    for (int k = 0; k < 12; ++k) {
      state += 0x9e3779b97f4a7c15u;
      uint64_t z = state;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
      z ^= z >> 31;
      sum += static_cast<double>(z >> 11) * 0x1.0p-53;
    }
    data[i] = sum - 6;
  }
  return values;
}

void ExpectMatchesAutograd(const RuleCase& rule_case) {
  const std::shared_ptr<const Model> model = MakeModel(rule_case);
  const Batch all{{rule_case.x}, Normal({rule_case.x.size(0)}, 77)};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::shared_ptr<const CapturingGradientProvider> provider,
      CapturingGradientProvider::Create(model, Loss(), all));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::shared_ptr<const AutogradGradientProvider> reference,
      AutogradGradientProvider::Create(model, Loss()));
  ASSERT_EQ(provider->coverage().parameters.size(), rule_case.rules.size());
  for (size_t i = 0; i < rule_case.rules.size(); ++i) {
    const ParameterCoverage& coverage = provider->coverage().parameters[i];
    EXPECT_EQ(coverage.rule, rule_case.rules[i])
        << coverage.name << ": " << coverage.reason;
  }
  const at::Tensor rows = Normal({3, model->num_parameters()}, 5);
  for (const int64_t size : {1, 2, 5}) {
    SCOPED_TRACE(testing::Message() << "batch size " << size);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch batch, SliceBatch(all, 0, size));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                                   reference->FlatGrads(batch));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found,
                                   provider->FlatGrads(batch));
    EXPECT_THAT(found, TensorNear(expected, 1e-10));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor products,
                                   provider->JacobianProd(batch, rows));
    EXPECT_THAT(products, TensorNear(expected.matmul(rows.t()), 1e-10));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients factors,
                                   provider->FactoredGrads(batch));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor gram,
                                   factors.Gram(factors));
    EXPECT_THAT(gram, TensorNear(expected.matmul(expected.t()), 1e-10));
  }
}

}  // namespace influence
