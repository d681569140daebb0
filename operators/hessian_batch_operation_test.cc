// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/hessian_batch_operation.h"

#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/cdist.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/tanh.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<const GradientProvider> Provider(
    std::shared_ptr<const Model> model) {
  return *AutogradGradientProvider::Create(std::move(model),
                                           CrossEntropyLoss());
}

at::Tensor DenseOf(const BatchOperation& operation, const Batch& batch) {
  const at::ScalarType dtype = operation.provider().model().dtype();
  return *operation.Apply(batch,
                          at::eye(operation.input_size(), at::dtype(dtype)));
}

TEST(HessianBatchOperationTest, EqualsCentralDifferences) {
  const auto provider = Provider(TanhMlp({3, 4, 3}, at::kDouble, 1));
  const Batch batch = SeededClassification(6, 3, 3, at::kDouble, 2);
  // Differences are exact to about 1e-9 (problem_testing.h).
  EXPECT_THAT(DenseOf(HessianBatchOperation(provider), batch),
              TensorNear(HessianByDifferences(*provider, batch), 1e-8));
}

TEST(HessianBatchOperationTest, IsSymmetricToRounding) {
  const auto provider = Provider(TanhMlp({3, 4, 3}, at::kDouble, 1));
  const Batch batch = SeededClassification(6, 3, 3, at::kDouble, 2);
  const at::Tensor dense = DenseOf(HessianBatchOperation(provider), batch);
  EXPECT_THAT(dense, TensorNear(dense.t(), 1e-14));
}

TEST(HessianBatchOperationTest, Float32AgreesWithFloat64) {
  const auto provider = Provider(TanhMlp({3, 4, 3}, at::kDouble, 1));
  const auto single = Provider(TanhMlp({3, 4, 3}, at::kFloat, 1));
  const Batch batch = SeededClassification(6, 3, 3, at::kDouble, 2);
  const Batch single_batch = {{batch.x[0].to(at::kFloat)}, batch.y};
  const at::Tensor dense = DenseOf(HessianBatchOperation(single), single_batch);
  EXPECT_EQ(dense.scalar_type(), at::kFloat);
  // A dozen roundings of 6e-8.
  EXPECT_THAT(
      dense.to(at::kDouble),
      TensorNear(DenseOf(HessianBatchOperation(provider), batch), 1e-6));
}

TEST(HessianBatchOperationTest, ManyRightHandSidesEqualOneByOne) {
  const auto provider = Provider(TanhMlp({3, 4, 3}, at::kDouble, 1));
  const HessianBatchOperation operation(provider);
  const Batch batch = SeededClassification(6, 3, 3, at::kDouble, 2);
  const at::Tensor v =
      SeededNormal({5, operation.input_size()}, at::kDouble, 3);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor rows, operation.Apply(batch, v));
  for (int64_t k = 0; k < v.size(0); ++k) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor row,
                                   operation.Apply(batch, v[k]));
    EXPECT_THAT(rows[k], TensorNear(row, 1e-15)) << "right-hand side " << k;
  }
}

TEST(HessianBatchOperationTest, IsTheMeanOverTheSamplesOfTheBatch) {
  const auto provider = Provider(TanhMlp({3, 4, 3}, at::kDouble, 1));
  const HessianBatchOperation operation(provider);
  const Batch batch = SeededClassification(3, 3, 3, at::kDouble, 2);
  at::Tensor sum;
  for (int64_t n = 0; n < 3; ++n) {
    const at::Tensor one = DenseOf(operation, *SliceBatch(batch, n, n + 1));
    sum = sum.defined() ? sum.add(one) : one;
  }
  EXPECT_THAT(DenseOf(operation, batch), TensorNear(sum.div(3), 1e-14));
}

TEST(HessianBatchOperationTest, RestrictedIsTheDiagonalBlock) {
  const auto provider = Provider(TanhMlp({3, 4, 3}, at::kDouble, 1));
  const Batch batch = SeededClassification(6, 3, 3, at::kDouble, 2);
  const at::Tensor dense = DenseOf(HessianBatchOperation(provider), batch);
  // "0.bias" and "2.weight", side by side in the flat vector.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto restricted, provider->Restrict({1, 2}));
  EXPECT_THAT(DenseOf(HessianBatchOperation(restricted), batch),
              TensorNear(dense.narrow(0, 12, 16).narrow(1, 12, 16), 1e-14));
}

TEST(HessianBatchOperationTest, WorksWhereTheCallerDisabledGradients) {
  const auto provider = Provider(TanhMlp({3, 4, 3}, at::kDouble, 1));
  const HessianBatchOperation operation(provider);
  const Batch batch = SeededClassification(6, 3, 3, at::kDouble, 2);
  const at::Tensor expected = DenseOf(operation, batch);
  at::NoGradGuard no_grad;
  EXPECT_THAT(DenseOf(operation, batch), TensorNear(expected, 0));
}

TEST(HessianBatchOperationTest, UnusedParametersHaveNoCurvature) {
  const at::Tensor w = ParameterLike(SeededNormal({2, 3}, at::kDouble, 1));
  const at::Tensor unused = ParameterLike(SeededNormal({4}, at::kDouble, 2));
  const auto model = std::make_shared<const FunctionModel>(
      std::vector<NamedParameter>{{"unused", unused}, {"w", w}},
      [w](const std::vector<at::Tensor>& x) { return x[0].matmul(w.t()); });
  const Batch batch = SeededClassification(6, 3, 2, at::kDouble, 3);
  const at::Tensor dense =
      DenseOf(HessianBatchOperation(Provider(model)), batch);
  EXPECT_THAT(dense.narrow(0, 0, 4),
              TensorNear(at::zeros({4, 10}, at::kDouble), 0));
  EXPECT_GT(dense.narrow(0, 4, 6).abs().max().item<double>(), 0.01);
}

TEST(HessianBatchOperationTest, AFunctionLinearInTheParametersHasNone) {
  const auto provider =
      Provider(TanhMlp({3, 2}, at::kDouble, 1))->WithFunction(LogitFunction());
  const Batch batch = SeededClassification(6, 3, 2, at::kDouble, 3);
  EXPECT_THAT(DenseOf(HessianBatchOperation(provider), batch),
              TensorNear(at::zeros({8, 8}, at::kDouble), 0));
}

TEST(HessianBatchOperationTest, NamesAnOperatorWithoutSecondDerivative) {
  const at::Tensor w = ParameterLike(SeededNormal({3, 4}, at::kDouble, 1));
  const auto model = std::make_shared<const FunctionModel>(
      std::vector<NamedParameter>{{"w", w}},
      [w](const std::vector<at::Tensor>& x) {
        return at::cdist(x[0], at::tanh(w), /*p=*/1);
      });
  const Batch batch = SeededClassification(5, 4, 3, at::kDouble, 2);
  const HessianBatchOperation operation(Provider(model));
  EXPECT_THAT(operation.Apply(batch, at::zeros({12}, at::kDouble)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("no second derivative of cdist")));
}

}  // namespace
}  // namespace influence
