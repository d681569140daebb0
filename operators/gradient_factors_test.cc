// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/gradient_factors.h"

#include <memory>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_term.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

// A linear layer with two positions, its bias and a table of four rows.
FactoredGradients Example(int64_t n, uint64_t seed) {
  const auto normal = [&seed](at::IntArrayRef shape) {
    return SeededNormal(shape.vec(), at::kFloat, ++seed);
  };
  const at::Tensor rows =
      at::arange(3 * n, at::kLong).remainder(4).reshape({n, 3});
  return FactoredGradients(
      n, at::kFloat,
      {{"weight",
        20,
        {std::make_shared<const OuterProductTerm>(0, normal({n, 1, 2, 4}),
                                                  normal({n, 1, 2, 5}))}},
       {"bias", 4, {std::make_shared<const DenseTerm>(0, normal({n, 4}))}},
       {"table",
        8,
        {std::make_shared<const RowSparseTerm>(0, 4, rows,
                                               normal({n, 3, 2}))}}});
}

TEST(GradientFactorsTest, AreConvertedWithoutAnotherRounding) {
  const FactoredGradients single = Example(6, 1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients converted,
                                 ConvertGradients(single, at::kDouble));
  EXPECT_EQ(converted.dtype(), at::kDouble);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor grads, converted.Flatten());
  // Written out in float32 they are rounded.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor rounded, single.Flatten());
  EXPECT_THAT(grads, TensorNear(rounded.to(at::kDouble), 1e-6));
  // All else is that of the float64 matrix.
  const at::Tensor matrix = SeededNormal({3, 32}, at::kDouble, 50);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor products,
                                 converted.Contract(matrix));
  EXPECT_THAT(products, TensorNear(grads.matmul(matrix.t()), 1e-14));
  const at::Tensor weights = SeededNormal({3, 6}, at::kDouble, 60);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor sums,
                                 converted.WeightedSum(weights));
  EXPECT_THAT(sums, TensorNear(weights.matmul(grads), 1e-14));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients other,
                                 ConvertGradients(Example(4, 20), at::kDouble));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor other_grads, other.Flatten());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor gram, converted.Gram(other));
  EXPECT_THAT(gram, TensorNear(grads.matmul(other_grads.t()), 1e-14));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor norms, converted.SquaredNorms());
  EXPECT_THAT(norms, TensorNear(grads.square().sum(1), 1e-14));
}

TEST(GradientFactorsTest, TheSameDtypeSharesTheTerms) {
  const FactoredGradients single = Example(6, 1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients same,
                                 ConvertGradients(single, at::kFloat));
  EXPECT_EQ(same.parameters()[0].terms[0], single.parameters()[0].terms[0]);
  EXPECT_THAT(ConvertGradients(single, at::kLong),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       testing::HasSubstr("dtype: found int64")));
}

TEST(GradientFactorsTest, CostsOfGramProductsAndMemory) {
  const FactoredGradients grads = Example(6, 1);
  // The weight's 20 scalars, as 2 * 2 * (4 + 5 + 4) is more.
  EXPECT_EQ(GramCost(grads), 20 + 4 + 8);
  EXPECT_EQ(StoredBytes(grads), 4 * 6 * (2 * (4 + 5) + 4 + 8));
  EXPECT_EQ(FactorBytesPerSample(grads), 4 * 2 * (4 + 5));
}

}  // namespace
}  // namespace influence
