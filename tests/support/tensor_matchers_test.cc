// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "tests/support/tensor_matchers.h"

#include <cmath>
#include <string>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/full.h"
#include "ATen/ops/zeros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string Explain(const at::Tensor& actual,
                    const testing::Matcher<const at::Tensor&>& matcher) {
  testing::StringMatchResultListener listener;
  EXPECT_FALSE(matcher.MatchAndExplain(actual, &listener));
  return listener.str();
}

// [[0, 1, 2], [3, 4, 5]].
at::Tensor Counting() { return at::arange(6, at::kDouble).reshape({2, 3}); }

TEST(TensorMatchersTest, AcceptsDifferencesWithinTheTolerance) {
  EXPECT_THAT(Counting(), TensorNear(Counting(), 0));
  // Relative to the largest entry, 5.
  EXPECT_THAT(Counting().add(0.04), TensorNear(Counting(), 0.01));
  EXPECT_THAT(Counting().add(0.06), Not(TensorNear(Counting(), 0.01)));
}

TEST(TensorMatchersTest, NamesTheFirstWrongEntryAndBothValues) {
  at::Tensor actual = Counting();
  actual[1][0] = 3.5;
  actual[1][2] = 6;
  EXPECT_EQ(Explain(actual, TensorNear(Counting(), 0.01)),
            "entry [1, 0] is 3.5, expected 3, relative difference 0.1 "
            "(tolerance 0.01); 2 of 6 entries differ");
}

TEST(TensorMatchersTest, SeesThroughStrides) {
  at::Tensor actual = Counting().t();
  EXPECT_THAT(actual, TensorNear(Counting().t().contiguous(), 0));
  EXPECT_THAT(Explain(actual.add(Counting().t().eq(4)),
                      TensorNear(Counting().t(), 0.01)),
              HasSubstr("entry [1, 1] is 5, expected 4"));
}

TEST(TensorMatchersTest, NegativeValuesAreComparedByMagnitude) {
  EXPECT_THAT(-Counting(), TensorNear(-Counting(), 0));
  EXPECT_THAT(Explain(Counting().neg().sub(1), TensorNear(-Counting(), 0.01)),
              HasSubstr("entry [0, 0] is -1, expected -0,"));
}

TEST(TensorMatchersTest, NanMatchesNothing) {
  const at::Tensor nan = at::full({2}, std::nan(""), at::kDouble);
  EXPECT_THAT(nan, Not(TensorNear(nan, 1)));
  EXPECT_THAT(nan, Not(TensorNear(at::zeros({2}, at::kDouble), 1)));
  EXPECT_THAT(at::zeros({2}, at::kDouble), Not(TensorNear(nan, 1)));
  EXPECT_THAT(Explain(nan, TensorNearAtScale(nan, 1, 1)),
              HasSubstr("entry [0] is nan, expected nan"));
}

TEST(TensorMatchersTest, WhereAllIsZeroOnlyZeroMatches) {
  const at::Tensor zero = at::zeros({2}, at::kDouble);
  EXPECT_THAT(zero, TensorNear(zero, 1e-3));
  EXPECT_THAT(Explain(zero.add(1e-300), TensorNear(zero, 1e-3)),
              HasSubstr("relative difference inf"));
}

TEST(TensorMatchersTest, TheScaleMayBeThatOfALargerArray) {
  const at::Tensor zero = at::zeros({2}, at::kDouble);
  EXPECT_THAT(zero.add(0.5), TensorNearAtScale(zero, 0.1, 10));
  EXPECT_THAT(Explain(zero.add(2), TensorNearAtScale(zero, 0.1, 10)),
              HasSubstr("relative difference 0.2"));
}

TEST(TensorMatchersTest, ShapeAndDtypeMustBeEqual) {
  EXPECT_EQ(Explain(Counting(), TensorNear(Counting().reshape({6}), 1)),
            "shape is [2, 3], expected [6]");
  EXPECT_EQ(Explain(at::Tensor(), TensorNear(Counting(), 1)),
            "shape is undefined, expected [2, 3]");
  EXPECT_EQ(Explain(Counting().to(at::kFloat), TensorNear(Counting(), 1)),
            "dtype is float32, expected float64");
}

TEST(TensorMatchersTest, IntegersAreComparedExactly) {
  const at::Tensor labels = at::arange(3, at::kLong);
  EXPECT_THAT(labels, TensorNear(labels, 0));
  EXPECT_THAT(labels.add(1), Not(TensorNear(labels, 0)));
}

TEST(TensorMatchersTest, EmptyTensorsMatch) {
  EXPECT_THAT(at::zeros({0, 3}), TensorNear(at::zeros({0, 3}), 0));
  EXPECT_THAT(at::zeros({0, 3}), Not(TensorNear(at::zeros({3, 0}), 0)));
}

TEST(TensorMatchersTest, DescribesItself) {
  testing::Matcher<const at::Tensor&> matcher = TensorNear(Counting(), 0.01);
  EXPECT_EQ(testing::DescribeMatcher<const at::Tensor&>(matcher),
            "is within a relative 0.01 of a [2, 3] tensor");
  EXPECT_EQ(testing::DescribeMatcher<const at::Tensor&>(matcher, true),
            "is not within a relative 0.01 of a [2, 3] tensor");
}

}  // namespace
}  // namespace influence
