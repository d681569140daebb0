// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/sample_axis.h"

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "gtest/gtest.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

// 2 samples x 3 positions x 4 features, every entry different.
at::Tensor Samples() {
  return at::arange(24, at::dtype(at::kDouble)).view({2, 3, 4});
}

TEST(SamplesFirstTest, KeepsAPlainBatch) {
  EXPECT_THAT(SamplesFirst(Samples(), {0, 1, true}, 2, 1),
              TensorNear(Samples(), 0));
}

TEST(SamplesFirstTest, MovesSamplesFromTheSecondDimension) {
  EXPECT_THAT(SamplesFirst(Samples().transpose(0, 1), {1, 1, true}, 2, 1),
              TensorNear(Samples(), 0));
}

TEST(SamplesFirstTest, SplitsSampleMajorRows) {
  EXPECT_THAT(SamplesFirst(Samples().reshape({6, 4}), {0, 3, true}, 2, 1),
              TensorNear(Samples(), 0));
}

TEST(SamplesFirstTest, SplitsPositionMajorRows) {
  EXPECT_THAT(SamplesFirst(Samples().transpose(0, 1).reshape({6, 4}),
                           {0, 3, false}, 2, 1),
              TensorNear(Samples(), 0));
}

TEST(SamplesFirstTest, FlattensSeveralFeatureDimensions) {
  EXPECT_THAT(SamplesFirst(Samples(), {0, 1, true}, 2, 2),
              TensorNear(Samples().view({2, 1, 12}), 0));
}

TEST(SumToParameterTest, SumsWhatIsBroadcast) {
  EXPECT_THAT(SumToParameter(Samples(), {1, 1, 4}, {0, 1, true}, 2),
              TensorNear(Samples().sum(1), 0));
  EXPECT_THAT(SumToParameter(Samples(), {1, 3, 1}, {0, 1, true}, 2),
              TensorNear(Samples().sum(2), 0));
  EXPECT_THAT(SumToParameter(Samples(), {1, 3, 4}, {0, 1, true}, 2),
              TensorNear(Samples().view({2, 12}), 0));
}

TEST(SumToParameterTest, KeepsTheParametersOrderAroundTheSamples) {
  const at::Tensor middle = Samples().transpose(0, 1);  // [3, 2, 4]
  EXPECT_THAT(SumToParameter(middle, {3, 1, 4}, {1, 1, true}, 2),
              TensorNear(Samples().view({2, 12}), 0));
}

TEST(SumToParameterTest, SumsOverMergedPositions) {
  EXPECT_THAT(
      SumToParameter(Samples().reshape({6, 4}), {1, 4}, {0, 3, true}, 2),
      TensorNear(Samples().sum(1), 0));
  EXPECT_THAT(SumToParameter(Samples().transpose(0, 1).reshape({6, 4}), {1, 4},
                             {0, 3, false}, 2),
              TensorNear(Samples().sum(1), 0));
}

}  // namespace
}  // namespace influence
