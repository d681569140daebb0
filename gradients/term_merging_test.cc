// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/term_merging.h"

#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/ATen.h"
#include "gradients/gradient_term.h"
#include "gtest/gtest.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

at::Tensor Random(at::IntArrayRef shape) {
  return at::randn(shape, at::dtype(at::kDouble));
}

std::shared_ptr<const GradientTerm> Outer(int64_t n, int64_t t,
                                          int64_t offset = 0) {
  return std::make_shared<OuterProductTerm>(offset, Random({n, 2, t, 3}),
                                            Random({n, 2, t, 4}));
}

std::shared_ptr<const GradientTerm> Sparse(int64_t n, int64_t t) {
  return std::make_shared<RowSparseTerm>(
      0, 8, at::randint(-1, 8, {n, t}, at::kLong), Random({n, t, 3}));
}

std::shared_ptr<const GradientTerm> Dense(int64_t n) {
  return std::make_shared<DenseTerm>(0, Random({n, 24}));
}

// [N, 48]
at::Tensor Written(const Terms& terms, int64_t num_samples) {
  const at::Tensor all = at::zeros({num_samples, 48}, at::kDouble);
  for (const auto& term : terms) {
    term->Write(0, num_samples, /*accumulate=*/true,
                all.narrow(1, term->offset(), term->size()));
  }
  return all;
}

TEST(TermMergingTest, JoinsAlongPositionsWhatIsAlike) {
  const Terms terms = {Outer(5, 1),     Sparse(5, 3), Outer(5, 2), Dense(5),
                       Outer(5, 1, 24), Sparse(5, 1), Dense(5)};
  const Terms merged = MergeTerms(terms);
  EXPECT_EQ(merged.size(), 4u);
  EXPECT_THAT(Written(merged, 5), TensorNear(Written(terms, 5), 1e-13));
}

TEST(TermMergingTest, OneTermIsLeftAlone) {
  const Terms terms = {Outer(5, 3)};
  EXPECT_EQ(MergeTerms(terms)[0], terms[0]);
  EXPECT_TRUE(MergeTerms({}).empty());
}

TEST(TermMergingTest, JoinsSamplesOfDifferentLengths) {
  const std::vector<Terms> samples = {
      {Outer(1, 2), Outer(1, 1), Sparse(1, 2)},
      {},
      {Outer(1, 5), Dense(1)},
      {Sparse(1, 4), Outer(1, 1)},
  };
  const Terms joined = JoinSamples(samples);
  std::vector<at::Tensor> rows;
  for (const Terms& terms : samples) rows.push_back(Written(terms, 1));
  EXPECT_THAT(Written(joined, 4), TensorNear(at::cat(rows, 0), 1e-13));
  ASSERT_EQ(joined.size(), 3u);
  const auto* product = dynamic_cast<const OuterProductTerm*>(joined[0].get());
  ASSERT_NE(product, nullptr);
  EXPECT_EQ(product->left().size(2), 5);
  EXPECT_EQ(product->real_positions().sum(1).equal(at::tensor({3, 0, 5, 1})),
            true);
}

}  // namespace
}  // namespace influence
