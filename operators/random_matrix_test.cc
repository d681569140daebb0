// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/random_matrix.h"

#include "ATen/core/Tensor.h"
#include "ATen/ops/eye.h"
#include "gtest/gtest.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

TEST(RandomMatrixTest, IsNormal) {
  // 40,000 deviates: the standard errors of the moments below are 0.005, 0.007,
  // 0.012 and 0.049; six of them make a false alarm a matter of 1e-9.
  const at::Tensor x = RandomNormalMatrix(200, 200, 1);
  EXPECT_NEAR(x.mean().item<double>(), 0, 0.03);
  EXPECT_NEAR(x.square().mean().item<double>(), 1, 0.042);
  EXPECT_NEAR(x.pow(3).mean().item<double>(), 0, 0.12);
  EXPECT_NEAR(x.pow(4).mean().item<double>(), 3, 0.3);
  // The two deviates of a pair are not correlated.
  const at::Tensor pairs = x.reshape({-1, 2});
  EXPECT_NEAR(pairs.select(1, 0).mul(pairs.select(1, 1)).mean().item<double>(),
              0, 0.042);
}

TEST(RandomMatrixTest, IsFixedByTheSeed) {
  const at::Tensor x = RandomNormalMatrix(3, 5, 7);
  EXPECT_TRUE(x.equal(RandomNormalMatrix(3, 5, 7)));
  EXPECT_FALSE(x.equal(RandomNormalMatrix(3, 5, 8)));
  // An odd number of entries is the beginning of a longer one.
  EXPECT_TRUE(x.reshape({15}).equal(
      RandomNormalMatrix(1, 16, 7).reshape({16}).narrow(0, 0, 15)));
}

TEST(RandomMatrixTest, RowsAreOrthonormal) {
  const at::Tensor x = RandomOrthonormalRows(5, 40, 3);
  EXPECT_EQ(x.sizes(), at::IntArrayRef({5, 40}));
  EXPECT_TRUE(x.is_contiguous());
  EXPECT_THAT(x.matmul(x.t()), TensorNear(at::eye(5, at::kDouble), 1e-14));
  EXPECT_THAT(
      RandomOrthonormalRows(4, 4, 3).t().matmul(RandomOrthonormalRows(4, 4, 3)),
      TensorNear(at::eye(4, at::kDouble), 1e-14));
}

}  // namespace
}  // namespace influence
