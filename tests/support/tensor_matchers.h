// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// GoogleTest matchers for at::Tensor that say where two tensors differ.
//
//   EXPECT_THAT(gradient, TensorNear(expected, 1e-10));
//
// An explanation reads
//   entry [1, 2] is 3.5, expected 3, relative difference 0.1 (tolerance 1e-10);
//   2 of 6 entries differ
// where the entry is the first wrong one in row-major order.
#ifndef INFLUENCE_TESTS_SUPPORT_TENSOR_MATCHERS_H_
#define INFLUENCE_TESTS_SUPPORT_TENSOR_MATCHERS_H_

#include "ATen/core/Tensor.h"
#include "gmock/gmock.h"

namespace influence {

// Matches a tensor of the shape and dtype of `expected` with
// |actual - expected| <= relative_tolerance * max |expected| for each entry.
// NaN matches nothing; where all of `expected` is zero, only zero matches.
testing::Matcher<const at::Tensor&> TensorNear(at::Tensor expected,
                                               double relative_tolerance);

// The same with `scale` in place of max |expected|: for a part of a larger
// array, whose rounding errors are those of the whole.
testing::Matcher<const at::Tensor&> TensorNearAtScale(at::Tensor expected,
                                                      double relative_tolerance,
                                                      double scale);

}  // namespace influence

#endif  // INFLUENCE_TESTS_SUPPORT_TENSOR_MATCHERS_H_
