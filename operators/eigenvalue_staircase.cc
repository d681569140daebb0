// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/eigenvalue_staircase.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <tuple>

#include "ATen/ops/arange.h"
#include "ATen/ops/argsort.h"
#include "ATen/ops/index_select.h"

namespace influence {
namespace {

// The places where the search may cut the rows.
constexpr int64_t kMaxCuts = 1024;

// All of R x C as one step.
EigenvalueStaircase Everything(int64_t num_rows, int64_t num_columns) {
  EigenvalueStaircase staircase;
  staircase.row_order = at::arange(num_rows, at::kLong);
  staircase.column_order = at::arange(num_columns, at::kLong);
  staircase.steps = {{0, num_rows, num_columns}};
  return staircase;
}

// The order of falling `values` [n]; equal ones keep theirs.
at::Tensor FallingOrder(const at::Tensor& values) {
  return at::argsort(values, /*stable=*/true, /*dim=*/0, /*descending=*/true);
}

// The cheapest cut of rows that need `lengths` (falling) leading columns.
std::vector<EigenvalueStaircase::Step> CheapestSteps(
    const std::vector<int64_t>& lengths, double step_cost) {
  const auto num_rows = static_cast<int64_t>(lengths.size());
  const int64_t stride = (num_rows - 1) / kMaxCuts + 1;
  std::vector<int64_t> cuts;
  for (int64_t row = 0; row < num_rows; row += stride) cuts.push_back(row);
  cuts.push_back(num_rows);

  // cost[j]: of the rows above cuts[j]; from[j]: where its last step begins.
  std::vector<double> cost(cuts.size(), std::numeric_limits<double>::max());
  std::vector<size_t> from(cuts.size(), 0);
  cost[0] = 0;
  for (size_t j = 1; j < cuts.size(); ++j) {
    for (size_t i = 0; i < j; ++i) {
      const double entries = static_cast<double>(cuts[j] - cuts[i]) *
                             static_cast<double>(lengths[cuts[i]]);
      const double total = cost[i] + entries + step_cost;
      if (total < cost[j]) {
        cost[j] = total;
        from[j] = i;
      }
    }
  }
  std::vector<EigenvalueStaircase::Step> steps;
  for (size_t j = cuts.size() - 1; j > 0; j = from[j]) {
    const int64_t begin = cuts[from[j]];
    steps.push_back({begin, cuts[j], lengths[begin]});
  }
  std::reverse(steps.begin(), steps.end());
  return steps;
}

}  // namespace

EigenvalueStaircase FindEigenvalueStaircase(const at::Tensor& eigenvalues,
                                            double regularization,
                                            double tolerance,
                                            double step_cost) {
  const int64_t num_rows = eigenvalues.size(0);
  const int64_t num_columns = eigenvalues.size(1);
  if (regularization <= 0) return Everything(num_rows, num_columns);

  const at::Tensor needed =
      eigenvalues.div(eigenvalues.add(regularization)).gt(tolerance);
  const at::Tensor column_order = FallingOrder(needed.sum(0));
  // A row needs all columns up to the last it needs: the largest place, counted
  // from 1, of a needed column.
  const at::Tensor place = at::arange(1, num_columns + 1, at::kLong);
  const at::Tensor length =
      std::get<0>(at::index_select(needed, 1, column_order).mul(place).max(1));
  const at::Tensor row_order = FallingOrder(length);
  const at::Tensor falling = at::index_select(length, 0, row_order);
  const int64_t* data = falling.data_ptr<int64_t>();
  const std::vector<int64_t> lengths(data, data + num_rows);

  EigenvalueStaircase staircase;
  staircase.row_order = row_order;
  staircase.column_order = column_order;
  staircase.steps = CheapestSteps(lengths, step_cost);
  double contracted = 0;
  double cost = 0;
  for (const EigenvalueStaircase::Step& step : staircase.steps) {
    contracted += static_cast<double>(step.end - step.begin) *
                  static_cast<double>(step.num_columns);
    cost += step_cost;
  }
  const auto all =
      static_cast<double>(num_rows) * static_cast<double>(num_columns);
  // The columns of one product of the whole width are part of the cost too.
  cost += contracted + static_cast<double>(num_rows + num_columns);
  if (cost >= all) return Everything(num_rows, num_columns);
  staircase.contracted_share = contracted / all;
  return staircase;
}

}  // namespace influence
