// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/gauss_newton_batch_operation.h"

#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/outer.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

at::Tensor DenseOf(const BatchOperation& operation, const Batch& batch) {
  const at::ScalarType dtype = operation.provider().model().dtype();
  return *operation.Apply(batch,
                          at::eye(operation.input_size(), at::dtype(dtype)));
}

template <typename T>
class GaussNewtonBatchOperationTest : public testing::Test {
 protected:
  static constexpr at::ScalarType kDtype =
      sizeof(T) == 4 ? at::kFloat : at::kDouble;
  // A few dozen roundings.
  static constexpr double kTolerance = sizeof(T) == 4 ? 2e-6 : 1e-14;
};

using Dtypes = testing::Types<float, double>;
TYPED_TEST_SUITE(GaussNewtonBatchOperationTest, Dtypes);

TYPED_TEST(GaussNewtonBatchOperationTest, EqualsTheMeanOfOuterProducts) {
  const auto model = TanhMlp({3, 4, 3}, this->kDtype, 1);
  const Batch batch = SeededClassification(6, 3, 3, this->kDtype, 2);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto plain, AutogradGradientProvider::Create(model, CrossEntropyLoss()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto capturing,
      CapturingGradientProvider::Create(model, CrossEntropyLoss(), batch));
  const at::Tensor expected = DenseGaussNewton(*plain, batch).to(this->kDtype);
  EXPECT_THAT(DenseOf(GaussNewtonBatchOperation(plain), batch),
              TensorNear(expected, this->kTolerance));
  EXPECT_THAT(DenseOf(GaussNewtonBatchOperation(capturing), batch),
              TensorNear(expected, this->kTolerance));
}

TYPED_TEST(GaussNewtonBatchOperationTest, RestrictedIsTheDiagonalBlock) {
  const Batch batch = SeededClassification(6, 3, 3, this->kDtype, 2);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::shared_ptr<const GradientProvider> provider,
      CapturingGradientProvider::Create(TanhMlp({3, 4, 3}, this->kDtype, 1),
                                        CrossEntropyLoss(), batch));
  const at::Tensor dense = DenseOf(GaussNewtonBatchOperation(provider), batch);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto restricted, provider->Restrict({1, 2}));
  EXPECT_THAT(
      DenseOf(GaussNewtonBatchOperation(restricted), batch),
      TensorNear(dense.narrow(0, 12, 16).narrow(1, 12, 16), this->kTolerance));
}

// The gradient of a sequence is the sum over its tokens; the square of that sum
// is not the sum of squares.
TEST(GaussNewtonOfSequencesTest, SquaresPerSampleNotPerToken) {
  const at::Tensor w = ParameterLike(SeededNormal({3, 2}, at::kDouble, 1));
  const auto model = std::make_shared<const FunctionModel>(
      std::vector<NamedParameter>{{"w", w}},
      [w](const std::vector<at::Tensor>& x) { return x[0].matmul(w.t()); });
  const Batch batch = {{SeededNormal({5, 4, 2}, at::kDouble, 2)},
                       SeededLabels(20, 3, 3).view({5, 4})};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto provider,
      CapturingGradientProvider::Create(model, CrossEntropyLoss(), batch));
  at::Tensor per_sample;
  at::Tensor per_token;
  for (int64_t n = 0; n < 5; ++n) {
    at::Tensor sum;
    for (int64_t t = 0; t < 4; ++t) {
      // softmax(o) - onehot, times x.
      const at::Tensor x = batch.x[0][n][t];
      at::Tensor g = w.detach().matmul(x).softmax(0);
      g[batch.y[n][t].item<int64_t>()].sub_(1);
      const at::Tensor gradient = at::outer(g, x).reshape({-1});
      const at::Tensor square = at::outer(gradient, gradient);
      per_token = per_token.defined() ? per_token.add(square) : square;
      sum = sum.defined() ? sum.add(gradient) : gradient;
    }
    const at::Tensor square = at::outer(sum, sum);
    per_sample = per_sample.defined() ? per_sample.add(square) : square;
  }
  const at::Tensor dense = DenseOf(GaussNewtonBatchOperation(provider), batch);
  EXPECT_THAT(dense, TensorNear(per_sample.div(5), 1e-13));
  EXPECT_THAT(dense, testing::Not(TensorNear(per_token.div(5), 0.1)));
}

}  // namespace
}  // namespace influence
