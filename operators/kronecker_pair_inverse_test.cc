// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/kronecker_pair_inverse.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "ATen/core/Tensor.h"
#include "ATen/ops/einsum.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "gradients/gradient_term.h"
#include "gtest/gtest.h"
#include "operators/kronecker_testing.h"
#include "operators/problem_testing.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

KroneckerFactors Factors(int64_t o, int64_t i) {
  KroneckerFactors factors{};
  return WithRandomFactors(factors, o, i, 5);
}

FactoredParameter Weight(const at::Tensor& g, const at::Tensor& a) {
  return {"w",
          g.size(1) * a.size(1),
          {std::make_shared<OuterProductTerm>(0, g.unsqueeze(1).unsqueeze(1),
                                              a.unsqueeze(1).unsqueeze(1))}};
}

// More samples than a tile on either side, with and without the queries kept
// written out.
TEST(KroneckerPairInverseTest, InnerProductsEqualTheFormulaAcrossTiles) {
  struct Case {
    int64_t o, i;
    double tolerance;
    int64_t num_queries, num_samples;
  };
  for (const Case& c :
       {Case{5, 8, 0, 1030, 3}, Case{8, 5, 0, 3, 1030},
        Case{40, 50, 0.1, 1030, 3}, Case{50, 40, 0.1, 3, 1030}}) {
    SCOPED_TRACE(absl::StrCat(c.o, " x ", c.i, ", tolerance ", c.tolerance));
    const KroneckerFactors factors = Factors(c.o, c.i);
    const KroneckerPairInverse inverse(factors, 0.1, c.tolerance, at::kDouble);
    EXPECT_EQ(inverse.is_split(), c.tolerance > 0);
    const at::Tensor g = SeededNormal({c.num_queries, c.o}, at::kDouble, 1);
    const at::Tensor a = SeededNormal({c.num_queries, c.i}, at::kDouble, 2);
    const at::Tensor h = SeededNormal({c.num_samples, c.o}, at::kDouble, 3);
    const at::Tensor b = SeededNormal({c.num_samples, c.i}, at::kDouble, 4);
    const std::optional<RotatedFactors> queries =
        inverse.Rotate(Weight(g, a), nullptr);
    const std::optional<RotatedFactors> samples =
        inverse.Rotate(Weight(h, b), nullptr);
    ASSERT_TRUE(queries.has_value() && samples.has_value());
    at::Tensor expected;
    if (inverse.is_split()) {
      // By the split inverse's action on gradients.
      const at::Tensor written =
          at::zeros({c.num_queries, c.o * c.i}, at::kDouble);
      inverse.ApplyToFactors(*queries,
                             KroneckerPairInverse::Eigenvalues::kSplit, written,
                             {0, -1});
      expected = at::einsum("mab,na,nb->mn",
                            {written.view({c.num_queries, c.o, c.i}), h, b});
    } else {
      // sum_kl (U_G^T g)_k (U_A^T a)_l (U_G^T h)_k (U_A^T b)_l
      //        / (Lambda + lambda)_kl
      const at::Tensor& ug = factors.gradient_eigenvectors;
      const at::Tensor& ua = factors.input_eigenvectors;
      expected =
          at::einsum("mk,ml,nk,nl,kl->mn",
                     {g.matmul(ug), a.matmul(ua), h.matmul(ug), b.matmul(ua),
                      factors.eigenvalues.add(0.1).reciprocal()});
    }
    at::Tensor scores = at::zeros({c.num_queries, c.num_samples}, at::kDouble);
    inverse.AddInnerProducts(*queries, at::Tensor(), *samples, scores);
    EXPECT_THAT(scores, TensorNear(expected, 1e-12));
    // Added, not overwritten.
    inverse.AddInnerProducts(*queries, inverse.Divide(*queries), *samples,
                             scores);
    EXPECT_THAT(scores, TensorNear(expected.mul(2), 1e-12));
  }
}

TEST(KroneckerPairInverseTest, RotatesOuterProductsOfOnePositionOnly) {
  const KroneckerPairInverse inverse(Factors(3, 4), 1e-3, 0, at::kDouble);
  const at::Tensor g = SeededNormal({2, 1, 2, 3}, at::kDouble, 1);
  const at::Tensor a = SeededNormal({2, 1, 2, 4}, at::kDouble, 2);
  const auto one = [](const at::Tensor& t) { return t.narrow(2, 0, 1); };
  const auto rotate = [&](std::shared_ptr<const GradientTerm> term) {
    return inverse.Rotate({"w", 12, {std::move(term)}}, nullptr).has_value();
  };
  EXPECT_TRUE(rotate(std::make_shared<OuterProductTerm>(0, one(g), one(a))));
  EXPECT_FALSE(rotate(std::make_shared<OuterProductTerm>(0, g, a)));
  // The sides exchanged, as of an input-major weight.
  EXPECT_FALSE(rotate(std::make_shared<OuterProductTerm>(0, one(a), one(g))));
  EXPECT_FALSE(
      rotate(std::make_shared<DenseTerm>(0, at::zeros({2, 12}, at::kDouble))));
  EXPECT_FALSE(inverse.Rotate({"w", 12, {}}, nullptr).has_value());
  // Two uses.
  const auto term = std::make_shared<OuterProductTerm>(0, one(g), one(a));
  EXPECT_FALSE(inverse.Rotate({"w", 12, {term, term}}, nullptr).has_value());
}

}  // namespace
}  // namespace influence
