// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/eigenvalue_staircase.h"

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/full.h"
#include "ATen/ops/index_select.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"

namespace influence {
namespace {

// Lambda[k, l] = ((k + 1) (l + 1))^-2, entries from 1 to tiny.
at::Tensor Decaying(int64_t rows, int64_t columns) {
  const at::Tensor r = at::arange(1, rows + 1, at::kDouble).pow(-2);
  const at::Tensor c = at::arange(1, columns + 1, at::kDouble).pow(-2);
  return r.unsqueeze(1).mul(c.unsqueeze(0));
}

// A mask [R, C] in the order of the eigenvalues: what the steps contract.
at::Tensor Contracted(const EigenvalueStaircase& staircase) {
  at::Tensor mask = at::zeros(
      {staircase.row_order.size(0), staircase.column_order.size(0)}, at::kLong);
  for (const EigenvalueStaircase::Step& step : staircase.steps) {
    for (int64_t k = step.begin; k < step.end; ++k) {
      for (int64_t l = 0; l < step.num_columns; ++l) {
        mask[staircase.row_order[k].item<int64_t>()]
            [staircase.column_order[l].item<int64_t>()]
                .add_(1);
      }
    }
  }
  return mask;
}

void ExpectSound(const at::Tensor& eigenvalues, double regularization,
                 double tolerance, const EigenvalueStaircase& staircase) {
  // Orders are permutations, steps a partition of the rows with falling width.
  EXPECT_TRUE(std::get<0>(staircase.row_order.sort())
                  .equal(at::arange(eigenvalues.size(0), at::kLong)));
  EXPECT_TRUE(std::get<0>(staircase.column_order.sort())
                  .equal(at::arange(eigenvalues.size(1), at::kLong)));
  int64_t end = 0;
  int64_t width = eigenvalues.size(1);
  for (const EigenvalueStaircase::Step& step : staircase.steps) {
    EXPECT_EQ(step.begin, end);
    EXPECT_GT(step.end, step.begin);
    EXPECT_LE(step.num_columns, width);
    end = step.end;
    width = step.num_columns;
  }
  EXPECT_EQ(end, eigenvalues.size(0));
  const at::Tensor mask = Contracted(staircase);
  const at::Tensor needed =
      eigenvalues.div(eigenvalues.add(regularization)).gt(tolerance);
  EXPECT_TRUE(mask.gt(0).logical_or(needed.logical_not()).all().item<bool>())
      << "an entry above the tolerance is not contracted";
  EXPECT_DOUBLE_EQ(
      mask.sum().item<double>() / static_cast<double>(eigenvalues.numel()),
      staircase.contracted_share);
}

TEST(EigenvalueStaircaseTest, ContractsWhatTheToleranceNeedsAndLittleMore) {
  const at::Tensor eigenvalues = Decaying(60, 80);
  double last = 1;
  for (const double tolerance : {1e-6, 1e-4, 1e-3, 1e-2, 0.5}) {
    SCOPED_TRACE(absl::StrCat("tolerance ", tolerance));
    const EigenvalueStaircase staircase =
        FindEigenvalueStaircase(eigenvalues, 1e-3, tolerance, 1);
    ExpectSound(eigenvalues, 1e-3, tolerance, staircase);
    const double needed = eigenvalues.div(eigenvalues.add(1e-3))
                              .gt(tolerance)
                              .sum()
                              .item<double>() /
                          4800;
    EXPECT_LE(staircase.contracted_share, 1.1 * needed + 0.01);
    EXPECT_LE(staircase.contracted_share, last);
    last = staircase.contracted_share;
  }
  EXPECT_LT(last, 0.05);
}

TEST(EigenvalueStaircaseTest, FindsOrderWhereTheEigenvaluesHaveNone) {
  // The same numbers with rows and columns shuffled.
  const at::Tensor rows = SeededNormal({60}, at::kDouble, 1).argsort();
  const at::Tensor columns = SeededNormal({80}, at::kDouble, 2).argsort();
  const at::Tensor sorted = Decaying(60, 80);
  const at::Tensor shuffled =
      at::index_select(at::index_select(sorted, 0, rows), 1, columns);
  const EigenvalueStaircase staircase =
      FindEigenvalueStaircase(shuffled, 1e-3, 1e-3, 1);
  ExpectSound(shuffled, 1e-3, 1e-3, staircase);
  EXPECT_DOUBLE_EQ(
      staircase.contracted_share,
      FindEigenvalueStaircase(sorted, 1e-3, 1e-3, 1).contracted_share);
}

TEST(EigenvalueStaircaseTest, CoversAnEntryThatStandsAlone) {
  at::Tensor eigenvalues = Decaying(40, 40);
  eigenvalues[39][39] = 1.0;
  const EigenvalueStaircase staircase =
      FindEigenvalueStaircase(eigenvalues, 1e-3, 1e-2, 1);
  ExpectSound(eigenvalues, 1e-3, 1e-2, staircase);
  // One row more of 40 is contracted in full.
  EXPECT_LT(staircase.contracted_share,
            FindEigenvalueStaircase(Decaying(40, 40), 1e-3, 1e-2, 1)
                    .contracted_share +
                0.03);
}

TEST(EigenvalueStaircaseTest, ACostlierStepMakesFewerSteps) {
  const at::Tensor eigenvalues = Decaying(200, 300);
  size_t last = 1000;
  for (const double cost : {1.0, 100.0, 1000.0}) {
    const EigenvalueStaircase staircase =
        FindEigenvalueStaircase(eigenvalues, 1e-3, 1e-5, cost);
    ExpectSound(eigenvalues, 1e-3, 1e-5, staircase);
    EXPECT_LT(staircase.steps.size(), last) << cost;
    last = staircase.steps.size();
  }
  // Where one step costs more than everything, there is nothing to gain.
  const EigenvalueStaircase one =
      FindEigenvalueStaircase(eigenvalues, 1e-3, 1e-5, 1e6);
  EXPECT_EQ(one.steps.size(), 1);
  EXPECT_EQ(one.contracted_share, 1);
}

TEST(EigenvalueStaircaseTest, ContractsAllWhereNothingCanBeLeft) {
  const at::Tensor eigenvalues = Decaying(30, 20);
  for (const auto& staircase :
       {FindEigenvalueStaircase(eigenvalues, 0, 0.5, 1),
        FindEigenvalueStaircase(eigenvalues, 1e-12, 1e-3, 1)}) {
    EXPECT_EQ(staircase.contracted_share, 1);
    ASSERT_EQ(staircase.steps.size(), 1);
    EXPECT_EQ(staircase.steps[0].end, 30);
    EXPECT_EQ(staircase.steps[0].num_columns, 20);
    EXPECT_TRUE(staircase.row_order.equal(at::arange(30, at::kLong)));
  }
}

TEST(EigenvalueStaircaseTest, ContractsNothingOfVanishingEigenvalues) {
  const at::Tensor eigenvalues = at::zeros({50, 40}, at::kDouble);
  const EigenvalueStaircase staircase =
      FindEigenvalueStaircase(eigenvalues, 1e-3, 0, 1);
  ExpectSound(eigenvalues, 1e-3, 0, staircase);
  EXPECT_EQ(staircase.contracted_share, 0);
  EXPECT_EQ(staircase.steps.size(), 1);
}

TEST(EigenvalueStaircaseTest, CutsMoreRowsThanItLooksAt) {
  const at::Tensor eigenvalues = Decaying(3001, 10);
  const EigenvalueStaircase staircase =
      FindEigenvalueStaircase(eigenvalues, 1e-3, 1e-2, 1);
  ExpectSound(eigenvalues, 1e-3, 1e-2, staircase);
  EXPECT_LT(staircase.contracted_share, 0.1);
}

}  // namespace
}  // namespace influence
