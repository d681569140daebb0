// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/nystroem_preconditioner.h"

#include <memory>
#include <tuple>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/diag.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/linalg_qr.h"
#include "ATen/ops/logspace.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "operators/conjugate_gradient.h"
#include "operators/dense_operator.h"
#include "operators/low_rank.h"
#include "operators/operator_testing.h"
#include "operators/problem_testing.h"
#include "operators/solve_report.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

at::Tensor Orthonormal(int64_t size, int64_t rank) {
  return std::get<0>(at::linalg_qr(SeededNormal({size, rank}, at::kDouble, 1)));
}

TEST(NystroemPreconditionerTest, KeepsTheOperatorContract) {
  const at::Tensor u = Orthonormal(9, 3);
  const at::Tensor d = at::tensor({5.0, 2.0, 0.5}, at::kDouble);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto op, NystroemPreconditioner::Create(LowRank{u, d}, 0.1));
  // The formula as it is printed.
  const at::Tensor expected =
      u.matmul(at::diag(d.add(0.1).reciprocal()))
          .matmul(u.t())
          .mul(0.6)
          .add(at::eye(9, at::kDouble).sub(u.matmul(u.t())));
  OperatorContract contract;
  contract.relative_tolerance = 1e-14;
  ExpectOperatorContract(*op, expected, contract);
}

// With the exact leading eigenpairs nothing above the smallest is left.
TEST(NystroemPreconditionerTest, BringsTheLargeEigenvaluesDown) {
  const at::Tensor u = Orthonormal(60, 60);
  const at::Tensor d = at::logspace(2, -4, 60, 10, at::kDouble);
  const at::Tensor c = u.matmul(at::diag(d)).matmul(u.t());
  ConjugateGradientOptions options;
  options.relative_tolerance = 1e-8;
  options.block = false;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<const Operator> a,
      DenseOperator::Create(c.add(c.t()).div(2), 1e-3));
  const at::Tensor b = SeededNormal({1, 60}, at::kDouble, 2);
  std::vector<SolveReport> plain;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto cg,
                                 ConjugateGradient::Create(a, options));
  INFLUENCE_ASSERT_OK(cg->ApplyWithReports(b, &plain));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      options.preconditioner,
      NystroemPreconditioner::Create(
          LowRank{u.narrow(1, 0, 40), d.narrow(0, 0, 40)}, 1e-3));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(cg, ConjugateGradient::Create(a, options));
  std::vector<SolveReport> reports;
  INFLUENCE_ASSERT_OK(cg->ApplyWithReports(b, &reports));
  EXPECT_EQ(reports[0].outcome, SolveOutcome::kConverged);
  // Condition number (D_40 + lambda) / (D_60 + lambda) = 10 is left.
  EXPECT_LE(reports[0].iterations, 25);
  EXPECT_GT(plain[0].iterations, 50);
}

TEST(NystroemPreconditionerTest, RefusesBadArguments) {
  const at::Tensor u = Orthonormal(4, 2);
  const auto eigenvalues = [](double first, double second) {
    return at::tensor({first, second}, at::kDouble);
  };
  EXPECT_THAT(NystroemPreconditioner::Create({u, eigenvalues(1, -1)}, 1),
              StatusIs(kInvalid, HasSubstr("found eigenvalue -1")));
  EXPECT_THAT(NystroemPreconditioner::Create({u, eigenvalues(1, 0)}, 0),
              StatusIs(kInvalid, HasSubstr("--regularization")));
  EXPECT_THAT(NystroemPreconditioner::Create({u, eigenvalues(2, 1)}, -1),
              StatusIs(kInvalid, HasSubstr("regularization: found -1")));
  EXPECT_THAT(NystroemPreconditioner::Create(
                  {u.narrow(1, 0, 0), at::zeros({0}, at::kDouble)}, 1),
              StatusIs(kInvalid, HasSubstr("no")));
}

}  // namespace
}  // namespace influence
