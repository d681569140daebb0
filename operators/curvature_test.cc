// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/curvature.h"

#include <memory>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
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

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr Curvature kCurvatures[] = {Curvature::kHessian,
                                     Curvature::kGaussNewton,
                                     Curvature::kGeneralizedGaussNewton};

TEST(CurvatureTest, NamesAreReadBack) {
  for (const Curvature curvature : kCurvatures) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(Curvature parsed,
                                   ParseCurvature(CurvatureName(curvature)));
    EXPECT_EQ(parsed, curvature);
  }
}

TEST(CurvatureTest, AnotherNameIsRefusedWithTheList) {
  EXPECT_THAT(ParseCurvature("Hessian"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("\"Hessian\""), HasSubstr("hessian"),
                             HasSubstr("gauss_newton"),
                             HasSubstr("generalized_gauss_newton"))));
}

TEST(CurvatureTest, CreatesTheOperationOfThatName) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::shared_ptr<const GradientProvider> provider,
      AutogradGradientProvider::Create(TanhMlp({2, 3, 2}, at::kDouble, 1),
                                       CrossEntropyLoss()));
  const Batch batch = SeededClassification(4, 2, 2, at::kDouble, 2);
  const at::Tensor expected[] = {HessianByDifferences(*provider, batch),
                                 DenseGaussNewton(*provider, batch),
                                 DenseGeneralizedGaussNewton(*provider, batch)};
  const at::Tensor v =
      SeededNormal({provider->num_parameters()}, at::kDouble, 3);
  for (const Curvature curvature : kCurvatures) {
    SCOPED_TRACE(CurvatureName(curvature));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        at::Tensor product,
        CreateCurvatureOperation(curvature, provider)->Apply(batch, v));
    EXPECT_THAT(
        product,
        TensorNear(expected[static_cast<int>(curvature)].matmul(v), 1e-8));
  }
}

}  // namespace
}  // namespace influence
