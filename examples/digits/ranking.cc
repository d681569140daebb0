// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "examples/digits/ranking.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/validators.h"

namespace influence {

absl::StatusOr<std::vector<int64_t>> OrderByDescending(
    const at::Tensor& scores) {
  INFLUENCE_RETURN_IF_ERROR(ValidateFloating("scores", scores));
  INFLUENCE_RETURN_IF_ERROR(ValidateShape("scores", scores, {scores.numel()}));
  INFLUENCE_RETURN_IF_ERROR(ValidateFinite("scores", scores));
  const at::Tensor values = scores.detach().to(at::kDouble).contiguous();
  const double* const data = values.data_ptr<double>();
  std::vector<int64_t> order(values.numel());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [data](int64_t a, int64_t b) { return data[a] > data[b]; });
  return order;
}

absl::StatusOr<std::vector<int64_t>> CountFound(
    const std::vector<int64_t>& order, const std::vector<bool>& wanted) {
  if (order.size() != wanted.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "order: found ", order.size(), " indices, expected ", wanted.size()));
  }
  std::vector<bool> seen(wanted.size(), false);
  std::vector<int64_t> counts = {0};
  counts.reserve(order.size() + 1);
  for (const int64_t n : order) {
    if (n < 0 || n >= static_cast<int64_t>(wanted.size()) || seen[n]) {
      return absl::InvalidArgumentError(
          absl::StrCat("order: found index ", n, " twice or out of [0, ",
                       wanted.size(), "), expected each once"));
    }
    seen[n] = true;
    counts.push_back(counts.back() + (wanted[n] ? 1 : 0));
  }
  return counts;
}

double ShareFound(const std::vector<int64_t>& counts, double inspected_share) {
  INFLUENCE_CHECK(!counts.empty());
  INFLUENCE_CHECK(inspected_share >= 0 && inspected_share <= 1);
  if (counts.back() == 0) return 0;
  const double num_samples = static_cast<double>(counts.size() - 1);
  return static_cast<double>(
             counts[std::llround(inspected_share * num_samples)]) /
         static_cast<double>(counts.back());
}

double Correlation(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.to(at::kDouble).sub(a.to(at::kDouble).mean());
  const at::Tensor y = b.to(at::kDouble).sub(b.to(at::kDouble).mean());
  const double scale = x.norm().item<double>() * y.norm().item<double>();
  return scale > 0 ? x.dot(y).item<double>() / scale : 0;
}

}  // namespace influence
