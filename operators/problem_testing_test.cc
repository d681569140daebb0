// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/problem_testing.h"

#include <cmath>
#include <memory>

#include "ATen/core/Tensor.h"
#include "ATen/ops/equal.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

TEST(ProblemTestingTest, NormalDeviatesDependOnTheSeedAlone) {
  const at::Tensor a = SeededNormal({1000}, at::kDouble, 1);
  EXPECT_TRUE(at::equal(a, SeededNormal({1000}, at::kDouble, 1)));
  EXPECT_FALSE(at::equal(a, SeededNormal({1000}, at::kDouble, 2)));
  // Five standard errors.
  EXPECT_NEAR(a.mean().item<double>(), 0, 5 / std::sqrt(1000.0));
  EXPECT_NEAR(a.std().item<double>(), 1, 5 / std::sqrt(2000.0));
}

TEST(ProblemTestingTest, LabelsCoverTheirRange) {
  const at::Tensor labels = SeededLabels(1000, 3, 1);
  EXPECT_EQ(labels.min().item<int64_t>(), 0);
  EXPECT_EQ(labels.max().item<int64_t>(), 2);
}

TEST(ProblemTestingTest, MlpHasTheStatedParameters) {
  const std::shared_ptr<const Model> model = TanhMlp({3, 4, 2}, at::kFloat, 1);
  ASSERT_EQ(model->parameters().size(), 4);
  EXPECT_EQ(model->parameters()[2].name, "2.weight");
  EXPECT_EQ(model->num_parameters(), 3 * 4 + 4 + 4 * 2 + 2);
  EXPECT_EQ(TanhMlp({3, 4, 2}, at::kFloat, 1, /*bias=*/false)->num_parameters(),
            3 * 4 + 4 * 2);
}

// For the squared error of a linear model y = x w the three curvatures are
// known in closed form: 2 x x^T, and (2 r)^2 x x^T with the residual r.
TEST(ProblemTestingTest, DenseCurvaturesOfLeastSquaresAreKnown) {
  const std::shared_ptr<const Model> model =
      TanhMlp({3, 1}, at::kDouble, 1, /*bias=*/false);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::shared_ptr<const GradientProvider> provider,
      AutogradGradientProvider::Create(model, MeanSquaredErrorLoss()));
  const at::Tensor x = SeededNormal({6, 3}, at::kDouble, 2);
  const at::Tensor y = SeededNormal({6, 1}, at::kDouble, 3);
  const Batch batch = {{x}, y};
  const at::Tensor hessian = x.t().matmul(x).mul(2.0 / 6);
  EXPECT_THAT(DenseGeneralizedGaussNewton(*provider, batch),
              TensorNear(hessian, 1e-14));
  EXPECT_THAT(HessianByDifferences(*provider, batch),
              TensorNear(hessian, 1e-9));
  const at::Tensor residual =
      x.matmul(model->parameters()[0].tensor.detach().t()).sub(y);
  const at::Tensor g = x.mul(residual).mul(2);
  EXPECT_THAT(DenseGaussNewton(*provider, batch),
              TensorNear(g.t().matmul(g).div(6), 1e-14));
}

}  // namespace
}  // namespace influence
