// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Results without an answer. A matrix of results, a row each, has NaN in every
// entry of a row for which there is none: a query whose solve has diverged. No
// number stands for that; zero would say "no influence". A row that is partly
// NaN, or has an infinite entry, is an error as everywhere.
//
// What is linear in the rows is computed with zeros in place of such rows, and
// the result's rows are marked again: the routines in between need not carry a
// NaN through, and those that skip zeros would lose it.
#ifndef INFLUENCE_BASE_MISSING_ROWS_H_
#define INFLUENCE_BASE_MISSING_ROWS_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace influence {

// The numbers, rising, of the rows of `matrix` that are NaN throughout. A row
// is all that belongs to one index of the first dimension. kInvalidArgument,
// naming the entry as ValidateFinite() does, if another entry is not finite.
// Costs a sum where there is none.
absl::StatusOr<std::vector<int64_t>> FindMissingRows(absl::string_view name,
                                                     const at::Tensor& matrix);

// `matrix` with zeros in these rows; itself if there are none.
at::Tensor WithoutMissingRows(const at::Tensor& matrix,
                              const std::vector<int64_t>& rows);

// `matrix` with NaN in these rows; itself, unchanged, if there are none, else a
// copy.
at::Tensor WithMissingRows(const at::Tensor& matrix,
                           const std::vector<int64_t>& rows);

// The numbers in either of the two, rising.
std::vector<int64_t> UnionOfRows(const std::vector<int64_t>& a,
                                 const std::vector<int64_t>& b);

}  // namespace influence

#endif  // INFLUENCE_BASE_MISSING_ROWS_H_
