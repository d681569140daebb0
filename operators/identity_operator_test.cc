// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/identity_operator.h"

#include <memory>

#include "ATen/core/Tensor.h"
#include "ATen/ops/eye.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/operator_testing.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

TEST(IdentityOperatorTest, KeepsTheOperatorContract) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    OperatorContract contract;
    contract.dtype = dtype;
    // The inner products alone round.
    contract.relative_tolerance = dtype == at::kFloat ? 1e-6 : 1e-15;
    ExpectOperatorContract(IdentityOperator(7), at::eye(7, at::kDouble),
                           contract);
  }
}

TEST(IdentityOperatorTest, GradientProductsAreTheirGramMatrix) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::shared_ptr<const GradientProvider> provider,
      AutogradGradientProvider::Create(TanhMlp({3, 4, 2}, at::kDouble, 5),
                                       CrossEntropyLoss()));
  const Batch left = SeededClassification(3, 3, 2, at::kDouble, 7);
  const Batch right = SeededClassification(5, 3, 2, at::kDouble, 8);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor left_grads,
                                 provider->FlatGrads(left));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor right_grads,
                                 provider->FlatGrads(right));
  const auto form =
      IdentityOperator(provider->num_parameters()).AsBilinearForm();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor products,
                                 form->GradsInnerProd(left, right, *provider));
  EXPECT_THAT(products, TensorNear(left_grads.matmul(right_grads.t()), 1e-14));
  // Written out where the products are with something else than gradients.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(FactoredGradients factored,
                                 provider->FactoredGrads(left));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto prepared, form->PrepareGrads(factored));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor transformed,
                                 prepared->TransformedGrads());
  EXPECT_THAT(transformed, TensorNear(left_grads, 0));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor rowwise,
                                 prepared->RowwiseInnerProd(factored));
  EXPECT_THAT(rowwise, TensorNear(left_grads.square().sum(1), 1e-14));
}

}  // namespace
}  // namespace influence
