// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/curvature_graph.h"

#include <memory>

#include "ATen/core/Tensor.h"
#include "ATen/ops/eye.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

class CurvatureGraphTest : public testing::Test {
 protected:
  void SetUp() override {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        provider_, AutogradGradientProvider::Create(
                       TanhMlp({3, 4, 2}, at::kDouble, 1), CrossEntropyLoss()));
  }

  std::shared_ptr<const GradientProvider> provider_;
  Batch batch_ = SeededClassification(5, 3, 2, at::kDouble, 2);
};

TEST_F(CurvatureGraphTest, SumsOverTheSamplesOfTheBatch) {
  // Differences change the parameters, which a graph would notice.
  const at::Tensor expected = HessianByDifferences(*provider_, batch_).mul(5);
  const at::Tensor identity = at::eye(provider_->num_parameters(), at::kDouble);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto hessian,
      CreateHessianGraph(*provider_, provider_->selection(), batch_));
  EXPECT_THAT(MatrixProduct(*hessian, *provider_, identity),
              TensorNear(expected, 1e-8));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto generalized, CreateGeneralizedGaussNewtonGraph(
                            *provider_, provider_->selection(), batch_));
  EXPECT_THAT(MatrixProduct(*generalized, *provider_, identity),
              TensorNear(DenseGeneralizedGaussNewton(*provider_, batch_).mul(5),
                         1e-14));
}

// Rows of parameter 2 of the product with a vector that lives in parameter 1
// alone, of a graph that knows neither 0 nor 3.
TEST_F(CurvatureGraphTest, GivesTheRowsThatAreAskedFor) {
  const at::Tensor dense = HessianByDifferences(*provider_, batch_).mul(5);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto graph, CreateHessianGraph(*provider_, {1, 2}, batch_));
  const at::Tensor v = SeededNormal({4}, at::kDouble, 3);
  const CurvatureGraph::Vectors rows = graph->Product({v, at::Tensor()}, {1});
  ASSERT_EQ(rows.size(), 1);
  ASSERT_EQ(rows[0].sizes(), at::IntArrayRef({2, 4}));
  EXPECT_THAT(
      rows[0].reshape({8}),
      TensorNear(dense.narrow(0, 16, 8).narrow(1, 12, 4).matmul(v), 1e-8));
}

TEST_F(CurvatureGraphTest, ProductsDoNotUseUpTheGraph) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto graph, CreateGeneralizedGaussNewtonGraph(
                      *provider_, provider_->selection(), batch_));
  const at::Tensor v =
      SeededNormal({1, provider_->num_parameters()}, at::kDouble, 3);
  const at::Tensor first = MatrixProduct(*graph, *provider_, v);
  EXPECT_THAT(MatrixProduct(*graph, *provider_, v), TensorNear(first, 0));
}

}  // namespace
}  // namespace influence
