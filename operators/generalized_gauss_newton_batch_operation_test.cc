// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/generalized_gauss_newton_batch_operation.h"

#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/linalg_eigvalsh.h"
#include "ATen/ops/zeros.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/hessian_batch_operation.h"
#include "operators/problem_testing.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

std::shared_ptr<const GradientProvider> Provider(
    std::shared_ptr<const Model> model, PerSampleFunction loss) {
  return *AutogradGradientProvider::Create(std::move(model), std::move(loss));
}

at::Tensor DenseOf(const BatchOperation& operation, const Batch& batch) {
  return *operation.Apply(batch, at::eye(operation.input_size(), at::kDouble));
}

TEST(GeneralizedGaussNewtonBatchOperationTest, EqualsTheDenseDefinition) {
  const Batch classes = SeededClassification(6, 3, 3, at::kDouble, 2);
  const Batch values = {classes.x, SeededNormal({6, 3}, at::kDouble, 4)};
  const auto model = TanhMlp({3, 4, 3}, at::kDouble, 1);
  const auto classifier = Provider(model, CrossEntropyLoss());
  const auto regressor = Provider(model, MeanSquaredErrorLoss());
  EXPECT_THAT(
      DenseOf(GeneralizedGaussNewtonBatchOperation(classifier), classes),
      TensorNear(DenseGeneralizedGaussNewton(*classifier, classes), 1e-14));
  EXPECT_THAT(
      DenseOf(GeneralizedGaussNewtonBatchOperation(regressor), values),
      TensorNear(DenseGeneralizedGaussNewton(*regressor, values), 1e-14));
}

TEST(GeneralizedGaussNewtonBatchOperationTest, TakesSequences) {
  const at::Tensor w = ParameterLike(SeededNormal({3, 2}, at::kDouble, 1));
  const auto model = std::make_shared<const FunctionModel>(
      std::vector<NamedParameter>{{"w", w}},
      [w](const std::vector<at::Tensor>& x) {
        return x[0].matmul(w.t()).tanh();
      });
  const Batch batch = {{SeededNormal({5, 4, 2}, at::kDouble, 2)},
                       SeededLabels(20, 3, 3).view({5, 4})};
  const auto provider = Provider(model, CrossEntropyLoss());
  EXPECT_THAT(DenseOf(GeneralizedGaussNewtonBatchOperation(provider), batch),
              TensorNear(DenseGeneralizedGaussNewton(*provider, batch), 1e-14));
}

TEST(GeneralizedGaussNewtonBatchOperationTest, IsTheHessianOfALinearModel) {
  const Batch batch = SeededClassification(6, 3, 3, at::kDouble, 2);
  const auto provider =
      Provider(TanhMlp({3, 3}, at::kDouble, 1), CrossEntropyLoss());
  EXPECT_THAT(
      DenseOf(GeneralizedGaussNewtonBatchOperation(provider), batch),
      TensorNear(DenseOf(HessianBatchOperation(provider), batch), 1e-14));
}

TEST(GeneralizedGaussNewtonBatchOperationTest, HasNoNegativeEigenvalue) {
  const Batch batch = SeededClassification(6, 3, 3, at::kDouble, 2);
  const auto provider =
      Provider(TanhMlp({3, 4, 3}, at::kDouble, 1), CrossEntropyLoss());
  const at::Tensor dense =
      DenseOf(GeneralizedGaussNewtonBatchOperation(provider), batch);
  EXPECT_GT(at::linalg_eigvalsh(dense).min().item<double>(), -1e-15);
  // Unlike the Hessian at the same place.
  EXPECT_LT(at::linalg_eigvalsh(DenseOf(HessianBatchOperation(provider), batch))
                .min()
                .item<double>(),
            -1e-3);
}

TEST(GeneralizedGaussNewtonBatchOperationTest, RestrictedIsTheDiagonalBlock) {
  const Batch batch = SeededClassification(6, 3, 3, at::kDouble, 2);
  const auto provider =
      Provider(TanhMlp({3, 4, 3}, at::kDouble, 1), CrossEntropyLoss());
  const at::Tensor dense =
      DenseOf(GeneralizedGaussNewtonBatchOperation(provider), batch);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto restricted, provider->Restrict({1, 2}));
  EXPECT_THAT(DenseOf(GeneralizedGaussNewtonBatchOperation(restricted), batch),
              TensorNear(dense.narrow(0, 12, 16).narrow(1, 12, 16), 1e-14));
}

TEST(GeneralizedGaussNewtonBatchOperationTest, ALinearFunctionHasNone) {
  const Batch batch = SeededClassification(6, 3, 3, at::kDouble, 2);
  const auto provider =
      Provider(TanhMlp({3, 4, 3}, at::kDouble, 1), LogitFunction());
  EXPECT_THAT(DenseOf(GeneralizedGaussNewtonBatchOperation(provider), batch),
              TensorNear(at::zeros({31, 31}, at::kDouble), 0));
}

}  // namespace
}  // namespace influence
