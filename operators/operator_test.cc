// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/operator.h"

#include <memory>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "operators/operator_testing.h"
#include "operators/problem_testing.h"
#include "operators/solve_report.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class MatrixOperator : public Operator {
 public:
  explicit MatrixOperator(at::Tensor a) : a_(std::move(a)) {}

  int64_t input_size() const override { return a_.size(0); }

 protected:
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override {
    return matrix.matmul(a_.t().to(matrix.scalar_type()));
  }

 private:
  at::Tensor a_;
};

// Row k takes k iterations.
class CountingOperator : public Operator {
 public:
  int64_t input_size() const override { return 3; }

 protected:
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override {
    return matrix.clone();
  }

  absl::StatusOr<at::Tensor> DoApplyWithReports(
      const at::Tensor& matrix,
      std::vector<SolveReport>* reports) const override {
    for (int64_t k = 0; k < matrix.size(0); ++k) {
      reports->push_back({SolveOutcome::kConverged, k, 0.0});
    }
    return DoApply(matrix);
  }
};

class FaultyOperator : public Operator {
 public:
  enum class Fault { kThrows, kFails, kOtherShape };

  explicit FaultyOperator(Fault fault) : fault_(fault) {}

  int64_t input_size() const override { return 3; }

 protected:
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override {
    switch (fault_) {
      case Fault::kThrows:
        return matrix.reshape({-1, 2});  // No such shape: LibTorch throws.
      case Fault::kFails:
        return absl::DataLossError("lost");
      case Fault::kOtherShape:
        return matrix.narrow(1, 0, 2);
    }
    return absl::InternalError("no such fault");
  }

 private:
  Fault fault_;
};

TEST(OperatorTest, ANewOperatorKeepsTheContract) {
  const at::Tensor a = SeededNormal({5, 5}, at::kDouble, 1);
  OperatorContract contract;
  contract.symmetric = false;
  contract.relative_tolerance = 1e-14;
  ExpectOperatorContract(MatrixOperator(a), a, contract);
  contract.symmetric = true;
  ExpectOperatorContract(MatrixOperator(a.add(a.t())), a.add(a.t()), contract);
}

TEST(OperatorTest, OneThatDoesNotIterateHasNoReports) {
  const MatrixOperator op(SeededNormal({3, 3}, at::kDouble, 1));
  std::vector<SolveReport> reports(2);
  INFLUENCE_EXPECT_OK(
      op.ApplyWithReports(at::zeros({2, 3}, at::kDouble), &reports));
  EXPECT_THAT(reports, IsEmpty());
}

TEST(OperatorTest, OneThatIteratesReportsEveryRightHandSide) {
  std::vector<SolveReport> reports(7);
  const at::Tensor rows = SeededNormal({2, 3}, at::kDouble, 1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor result, CountingOperator().ApplyWithReports(rows, &reports));
  EXPECT_EQ(result.sizes(), rows.sizes());
  ASSERT_EQ(reports.size(), 2);
  EXPECT_EQ(reports[1].iterations, 1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      result, CountingOperator().ApplyWithReports(rows[0], &reports));
  EXPECT_EQ(result.sizes(), rows[0].sizes());
  EXPECT_EQ(reports.size(), 1);
  EXPECT_THAT(CountingOperator().ApplyWithReports(at::zeros({4}, at::kDouble),
                                                  &reports),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("4")));
}

TEST(OperatorTest, TurnsWhatGoesWrongIntoAStatus) {
  const at::Tensor vector = at::zeros({3}, at::kDouble);
  using Fault = FaultyOperator::Fault;
  EXPECT_THAT(FaultyOperator(Fault::kThrows).Apply(vector),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("shape")));
  EXPECT_THAT(FaultyOperator(Fault::kFails).Apply(vector),
              StatusIs(absl::StatusCode::kDataLoss, "lost"));
  EXPECT_THAT(FaultyOperator(Fault::kOtherShape).Apply(vector),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("result of the operator")));
}

}  // namespace
}  // namespace influence
