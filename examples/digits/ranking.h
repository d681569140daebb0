// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// How well an order of inspection finds what is wanted: a person looks at the
// training images one by one, most suspicious first, and finds a share of the
// wrong labels.
#ifndef INFLUENCE_EXAMPLES_DIGITS_RANKING_H_
#define INFLUENCE_EXAMPLES_DIGITS_RANKING_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"

namespace influence {

// Indices of `scores` [N] from the largest to the smallest; equal scores keep
// their order. kInvalidArgument on another shape, or a score that is not
// finite.
absl::StatusOr<std::vector<int64_t>> OrderByDescending(
    const at::Tensor& scores);

// Entry k, for k in [0, N], is the number of wanted samples among the first k
// of `order`. `order` must hold each index of `wanted` once, which is checked:
// kInvalidArgument.
absl::StatusOr<std::vector<int64_t>> CountFound(
    const std::vector<int64_t>& order, const std::vector<bool>& wanted);

// The share of the wanted samples that are among the first
// round(inspected_share * N), from counts as CountFound() makes them. 0 where
// nothing is wanted. A random order finds inspected_share on average.
// inspected_share must lie in [0, 1].
double ShareFound(const std::vector<int64_t>& counts, double inspected_share);

// Pearson's correlation of two [N] tensors; 0 where one of them is constant.
double Correlation(const at::Tensor& a, const at::Tensor& b);

}  // namespace influence

#endif  // INFLUENCE_EXAMPLES_DIGITS_RANKING_H_
