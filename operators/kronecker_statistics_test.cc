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
  // All columns, or fewer.
  for (const int64_t fewer : {0, 1}) {
    const int64_t r = width - fewer, q = outputs - fewer;
    const at::Tensor u_a = SeededNormal({width, r}, at::kDouble, 11);
    const at::Tensor u_g = SeededNormal({outputs, q}, at::kDouble, 12);
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
    const at::Tensor sums = at::zeros({q, r}, at::kDouble);
    AddSquaredRotations(uses, append_one, u_a, u_g, sums);
    EXPECT_THAT(sums, TensorNear(expected, kTolerance));
  }
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

// Narrow groups in one product, wide ones one by one; several tiles of samples.
TEST(KroneckerStatisticsTest, GroupsAreSummedAsEachAlone) {
  struct Shape {
    int64_t n, h, t, inputs, outputs;
  };
  for (const Shape& shape :
       {Shape{5, 3, 4, 6, 2}, Shape{3, 2, 5, 80, 70}, Shape{2, 1, 3, 5, 4},
        Shape{4, 6, 1, 9, 1}, Shape{40, 500, 2, 50, 10}}) {
    const auto& [n, h, t, inputs, outputs] = shape;
    for (const bool append_one : {false, true}) {
      SCOPED_TRACE(testing::Message() << h << " groups of " << inputs << " to "
                                      << outputs << " " << append_one);
      // Channels before positions, as convolutions have them.
      const auto factors = [&](int64_t width, uint64_t seed) {
        return SeededNormal({n, h, width, t}, at::kDouble, seed)
            .transpose(2, 3);
      };
      const std::vector<PositionFactors> uses = {
          {factors(inputs, 1), factors(outputs, 2)},
          {factors(inputs, 3), factors(outputs, 4)}};
      const int64_t width = inputs + (append_one ? 1 : 0);
      const int64_t r = width - 1, q = outputs;
      const at::Tensor u_a = SeededNormal({h, width, r}, at::kDouble, 5);
      const at::Tensor u_g = SeededNormal({h, outputs, q}, at::kDouble, 6);
      const at::Tensor moments = at::zeros({h, width, width}, at::kDouble);
      const at::Tensor squares = at::zeros({h, q, r}, at::kDouble);
      for (const PositionFactors& use : uses) {
        AddSecondMoments(use.inputs, append_one, moments);
      }
      AddSquaredRotationsOfGroups(uses, append_one, u_a, u_g, squares);
      const at::Tensor symmetric = SymmetricFromUpper(moments);
      for (int64_t g = 0; g < h; g += 1 + h / 4) {
        const at::Tensor a0 = uses[0].inputs.select(1, g);
        const at::Tensor a1 = uses[1].inputs.select(1, g);
        const at::Tensor full0 = append_one ? Appended(a0) : a0;
        const at::Tensor full1 = append_one ? Appended(a1) : a1;
        const at::Tensor expected_moment =
            at::einsum("nti,ntj->ij", {full0, full0})
                .add(at::einsum("nti,ntj->ij", {full1, full1}));
        EXPECT_THAT(symmetric[g], TensorNear(expected_moment, kTolerance));
        const at::Tensor gradients =
            at::einsum("nto,nti->noi", {uses[0].gradients.select(1, g), full0})
                .add(at::einsum("nto,nti->noi",
                                {uses[1].gradients.select(1, g), full1}));
        const at::Tensor expected =
            at::einsum("ok,noi,il->nkl", {u_g[g], gradients, u_a[g]})
                .square()
                .sum({0});
        EXPECT_THAT(squares[g], TensorNear(expected, kTolerance));
      }
    }
  }
}

}  // namespace
}  // namespace influence
