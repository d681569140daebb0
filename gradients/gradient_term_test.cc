// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/gradient_term.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/einsum.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/full.h"
#include "ATen/ops/one_hot.h"
#include "ATen/ops/zeros.h"
#include "gtest/gtest.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

constexpr double kTolerance = 1e-12;

// Numbers without pattern, different for each seed.
at::Tensor Numbers(at::IntArrayRef shape, double seed) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return at::arange(count, at::dtype(at::kDouble))
      .add(1.0)
      .mul(12.9898 + seed)
      .sin()
      .view(shape);
}

// A term and the dense matrix [N, size] it stands for, built another way.
struct Example {
  std::string name;
  std::shared_ptr<GradientTerm> term;
  at::Tensor dense;
};

Example Dense(int64_t n, int64_t size, double seed) {
  at::Tensor gradients = Numbers({n, size}, seed);
  return {"dense", std::make_shared<DenseTerm>(0, gradients), gradients};
}

Example Outer(int64_t n, int64_t h, int64_t t, int64_t l, int64_t r,
              double seed) {
  at::Tensor left = Numbers({n, h, t, l}, seed);
  at::Tensor right = Numbers({n, h, t, r}, seed + 1);
  return {"outer", std::make_shared<OuterProductTerm>(0, left, right),
          at::einsum("nhtl,nhtr->nhlr", {left, right}).reshape({n, -1})};
}

Example Sparse(int64_t n, int64_t t, int64_t rows, int64_t d, double seed) {
  at::Tensor values = Numbers({n, t, d}, seed);
  at::Tensor index =
      Numbers({n, t}, seed + 2).mul(100).abs().to(at::kLong).remainder(rows);
  const at::Tensor hot = at::one_hot(index, rows).to(at::kDouble);
  return {"row sparse", std::make_shared<RowSparseTerm>(0, rows, index, values),
          at::einsum("ntv,ntd->nvd", {hot, values}).reshape({n, -1})};
}

void ExpectActsAsDense(const Example& example) {
  SCOPED_TRACE(example.name);
  const GradientTerm& term = *example.term;
  const at::Tensor& dense = example.dense;
  const int64_t n = dense.size(0), size = dense.size(1);
  ASSERT_EQ(term.num_samples(), n);
  ASSERT_EQ(term.size(), size);
  // Into columns of a wider matrix, over what is there and on top of it.
  at::Tensor wide = at::full({n, size + 3}, 7.0, at::kDouble);
  term.Write(0, n, /*accumulate=*/false, wide.narrow(1, 2, size));
  EXPECT_THAT(wide.narrow(1, 2, size), TensorNear(dense, kTolerance));
  EXPECT_THAT(wide.narrow(1, 0, 2),
              TensorNear(at::full({n, 2}, 7.0, at::kDouble), 0));
  term.Write(0, n, /*accumulate=*/true, wide.narrow(1, 2, size));
  EXPECT_THAT(wide.narrow(1, 2, size), TensorNear(dense.mul(2), kTolerance));
  if (n > 1) {
    at::Tensor part = at::empty({n - 1, size}, at::kDouble);
    term.Write(1, n, /*accumulate=*/false, part);
    EXPECT_THAT(part, TensorNear(dense.narrow(0, 1, n - 1), kTolerance));
  }
  // One row and many: the two take different ways.
  for (const int64_t k : {1, 2, 40}) {
    const at::Tensor matrix = Numbers({k, size}, 50);
    EXPECT_THAT(term.Contract(matrix),
                TensorNear(dense.matmul(matrix.t()), kTolerance));
    const at::Tensor weights = Numbers({k, n}, 60);
    EXPECT_THAT(term.WeightedSum(weights),
                TensorNear(weights.matmul(dense), kTolerance));
  }
  EXPECT_THAT(term.RowwiseInnerProduct(term),
              TensorNear(dense.square().sum(1), kTolerance));
  EXPECT_THAT(term.SumOfSquares(),
              TensorNear(dense.square().sum(0), kTolerance));
}

TEST(GradientTermTest, DenseActsAsItsMatrix) {
  ExpectActsAsDense(Dense(4, 6, 1));
}

TEST(GradientTermTest, OuterProductActsAsItsMatrix) {
  ExpectActsAsDense(Outer(4, 1, 1, 3, 5, 1));   // A linear layer.
  ExpectActsAsDense(Outer(4, 1, 1, 5, 3, 1));   // The wide side on the left.
  ExpectActsAsDense(Outer(4, 1, 6, 3, 5, 2));   // With positions.
  ExpectActsAsDense(Outer(4, 2, 7, 3, 5, 3));   // With groups.
  ExpectActsAsDense(Outer(3, 12, 4, 1, 3, 4));  // Many groups.
  ExpectActsAsDense(Outer(3, 2, 1, 4, 1, 5));
  ExpectActsAsDense(Outer(1, 1, 200, 3, 2, 6));
}

TEST(GradientTermTest, RowSparseActsAsItsMatrix) {
  ExpectActsAsDense(Sparse(4, 3, 5, 2, 1));
  ExpectActsAsDense(Sparse(4, 9, 3, 2, 2));    // Every row several times.
  ExpectActsAsDense(Sparse(4, 1, 300, 2, 3));  // A large table.
}

TEST(GradientTermTest, RowSparseIgnoresPositionsWithoutARow) {
  at::Tensor rows = at::zeros({2, 2}, at::kLong);
  rows[0][1] = -1;
  rows[1][0] = -1;
  rows[1][1] = 2;
  const at::Tensor values = Numbers({2, 2, 3}, 1);
  at::Tensor dense = at::zeros({2, 3, 3}, at::kDouble);
  dense[0][0].copy_(values[0][0]);
  dense[1][2].copy_(values[1][1]);
  ExpectActsAsDense({"row sparse with padding",
                     std::make_shared<RowSparseTerm>(0, 3, rows, values),
                     dense.reshape({2, 9})});
}

TEST(GradientTermTest, GramOfEveryPairOfKinds) {
  // All of 12 scalars: 4 x 3 as matrices.
  const std::vector<Example> left = {
      Dense(5, 12, 1),         Outer(5, 1, 1, 4, 3, 2), Outer(5, 1, 9, 4, 3, 3),
      Outer(5, 2, 2, 2, 3, 4), Sparse(5, 2, 4, 3, 5),   Sparse(5, 30, 4, 3, 6)};
  const std::vector<Example> right = {
      Dense(4, 12, 7), Outer(4, 1, 1, 4, 3, 8), Outer(4, 1, 2, 4, 3, 9),
      Outer(4, 2, 3, 2, 3, 10), Sparse(4, 3, 4, 3, 11)};
  for (const Example& a : left) {
    for (const Example& b : right) {
      SCOPED_TRACE(a.name + " with " + b.name);
      EXPECT_THAT(a.term->Gram(*b.term),
                  TensorNear(a.dense.matmul(b.dense.t()), kTolerance));
      EXPECT_THAT(b.term->Gram(*a.term),
                  TensorNear(b.dense.matmul(a.dense.t()), kTolerance));
    }
    for (const Example& b : left) {
      SCOPED_TRACE(a.name + " row by row with " + b.name);
      EXPECT_THAT(a.term->RowwiseInnerProduct(*b.term),
                  TensorNear(a.dense.mul(b.dense).sum(1), kTolerance));
    }
  }
}

TEST(GradientTermTest, RangesThatMeetInPartOrNotAtAll) {
  // Scalars [0, 6), [3, 9) and [6, 9) of one parameter.
  const at::Tensor a = Numbers({2, 6}, 1), b = Numbers({3, 6}, 2);
  const DenseTerm first(0, a), second(3, b);
  EXPECT_THAT(
      first.Gram(second),
      TensorNear(a.narrow(1, 3, 3).matmul(b.narrow(1, 0, 3).t()), kTolerance));
  const DenseTerm apart(6, Numbers({3, 3}, 3));
  EXPECT_THAT(first.Gram(apart), TensorNear(at::zeros({2, 3}, at::kDouble), 0));
  const DenseTerm same_rows(3, Numbers({2, 6}, 4));
  EXPECT_THAT(
      first.RowwiseInnerProduct(same_rows),
      TensorNear(
          a.narrow(1, 3, 3).mul(same_rows.gradients().narrow(1, 0, 3)).sum(1),
          kTolerance));
}

}  // namespace
}  // namespace influence
