// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/kronecker_statistics.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/einsum.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/zeros.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

// Sums of at most a few thousand terms of order one.
constexpr double kTolerance = 1e-12;

at::Tensor Appended(const at::Tensor& x) {
  return at::cat({x, at::ones({x.size(0), x.size(1), 1}, x.options())}, 2);
}

// The same values with another order of the dimensions in memory.
at::Tensor WithMemoryOrder(const at::Tensor& x, at::IntArrayRef order) {
  std::vector<int64_t> inverse(3);
  for (int64_t d = 0; d < 3; ++d) inverse[order[d]] = d;
  return x.permute(order).contiguous().permute(inverse);
}

TEST(KroneckerStatisticsTest, SecondMomentOfEveryMemoryLayout) {
  // Few and many positions for the number of features, one position, one
  // sample, several panels of columns, and work for several threads.
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{5, 7, 3},
                                            {5, 2, 9},
                                            {5, 1, 4},
                                            {1, 6, 4},
                                            {3, 2, 450},
                                            {4, 100, 90}}) {
    const at::Tensor values = SeededNormal(shape, at::kDouble, 1);
    for (const std::vector<int64_t>& order :
         {std::vector<int64_t>{0, 1, 2}, {1, 0, 2}, {0, 2, 1}, {2, 1, 0}}) {
      const at::Tensor x = WithMemoryOrder(values, order);
      for (const bool append_one : {false, true}) {
        SCOPED_TRACE(testing::Message()
                     << testing::PrintToString(shape) << " stored "
                     << testing::PrintToString(order) << " " << append_one);
        const at::Tensor full = append_one ? Appended(values) : values;
        const at::Tensor expected = at::einsum("nti,ntj->ij", {full, full});
        const at::Tensor sums =
            at::zeros({full.size(2), full.size(2)}, at::kDouble);
        AddSecondMoment(x, append_one, sums);
        EXPECT_THAT(SymmetricFromUpper(sums), TensorNear(expected, kTolerance));
        AddSecondMoment(x, append_one, sums);
        EXPECT_THAT(SymmetricFromUpper(sums),
                    TensorNear(expected.mul(2), kTolerance));
      }
    }
  }
}

// Any matrix serves as eigenvectors here; one that is not symmetric tells it
// from its transpose.
void ExpectSquaredRotations(const std::vector<int64_t>& positions, int64_t n,
                            int64_t inputs, int64_t outputs, bool append_one,
                            bool features_first) {
  SCOPED_TRACE(testing::Message()
               << testing::PrintToString(positions) << " " << inputs << " to "
               << outputs << " " << append_one << " " << features_first);
  const int64_t width = inputs + (append_one ? 1 : 0);
  const at::Tensor u_a = SeededNormal({width, width}, at::kDouble, 11);
  const at::Tensor u_g = SeededNormal({outputs, outputs}, at::kDouble, 12);
  std::vector<PositionFactors> uses;
  at::Tensor gradients = at::zeros({n, outputs, width}, at::kDouble);
  uint64_t seed = 20;
  for (const int64_t t : positions) {
    at::Tensor a = SeededNormal({n, t, inputs}, at::kDouble, seed++);
    at::Tensor g = SeededNormal({n, t, outputs}, at::kDouble, seed++);
    gradients.add_(
        at::einsum("nto,nti->noi", {g, append_one ? Appended(a) : a}));
    if (features_first) {
      a = WithMemoryOrder(a, {0, 2, 1});
      g = WithMemoryOrder(g, {0, 2, 1});
    }
    uses.push_back(PositionFactors{std::move(a), std::move(g)});
  }
  const at::Tensor expected =
      at::einsum("ok,noi,il->nkl", {u_g, gradients, u_a}).square().sum({0});
  const at::Tensor sums = at::zeros({outputs, width}, at::kDouble);
  AddSquaredRotations(uses, append_one, u_a, u_g, sums);
  EXPECT_THAT(sums, TensorNear(expected, kTolerance));
}

TEST(KroneckerStatisticsTest, SquaredRotationsWithoutPositions) {
  for (const bool append_one : {false, true}) {
    ExpectSquaredRotations({1}, 6, 4, 3, append_one, false);
  }
}

TEST(KroneckerStatisticsTest, SquaredRotationsInEveryOrder) {
  for (const bool append_one : {false, true}) {
    for (const bool features_first : {false, true}) {
      // T below both, between either way, and above both.
      ExpectSquaredRotations({2}, 5, 4, 3, append_one, features_first);
      ExpectSquaredRotations({5}, 5, 8, 3, append_one, features_first);
      ExpectSquaredRotations({5}, 5, 3, 8, append_one, features_first);
      ExpectSquaredRotations({9}, 5, 4, 3, append_one, features_first);
    }
  }
}

TEST(KroneckerStatisticsTest, SquaredRotationsAddPositionsOfSeveralUses) {
  for (const bool append_one : {false, true}) {
    ExpectSquaredRotations({1, 1}, 5, 4, 3, append_one, false);
    ExpectSquaredRotations({6, 2}, 5, 4, 3, append_one, true);
  }
}

TEST(KroneckerStatisticsTest, SquaredRotationsInSeveralTiles) {
  // 500 x 501 numbers a sample and more: a tile holds 8 or fewer samples.
  ExpectSquaredRotations({2}, 9, 500, 500, true, false);
  ExpectSquaredRotations({600}, 5, 500, 500, true, true);
}

}  // namespace
}  // namespace influence
