// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/missing_rows.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"

namespace influence {
namespace {

at::Tensor WithRowsOf(const at::Tensor& matrix,
                      const std::vector<int64_t>& rows, double value) {
  if (rows.empty()) return matrix;
  at::Tensor copy = matrix.clone();
  for (const int64_t row : rows) copy.select(0, row).fill_(value);
  return copy;
}

}  // namespace

absl::StatusOr<std::vector<int64_t>> FindMissingRows(absl::string_view name,
                                                     const at::Tensor& matrix) {
  std::vector<int64_t> rows;
  absl::Status finite = ValidateFinite(name, matrix);
  if (finite.ok()) return rows;
  if (!matrix.defined() || matrix.dim() == 0) return finite;
  INFLUENCE_RETURN_IF_ERROR(CatchTorch(name, [&]() -> absl::Status {
    const at::Tensor values = matrix.detach();
    for (int64_t row = 0; row < values.size(0); ++row) {
      const at::Tensor entries = values.select(0, row);
      if (ValidateFinite(name, entries).ok()) continue;
      // The message with the entry's index in all of `matrix`.
      if (!entries.isnan().all().item<bool>()) return finite;
      rows.push_back(row);
    }
    return absl::OkStatus();
  }));
  return rows;
}

at::Tensor WithoutMissingRows(const at::Tensor& matrix,
                              const std::vector<int64_t>& rows) {
  return WithRowsOf(matrix, rows, 0);
}

at::Tensor WithMissingRows(const at::Tensor& matrix,
                           const std::vector<int64_t>& rows) {
  return WithRowsOf(matrix, rows, std::numeric_limits<double>::quiet_NaN());
}

std::vector<int64_t> UnionOfRows(const std::vector<int64_t>& a,
                                 const std::vector<int64_t>& b) {
  std::vector<int64_t> all;
  std::set_union(a.begin(), a.end(), b.begin(), b.end(),
                 std::back_inserter(all));
  return all;
}

}  // namespace influence
