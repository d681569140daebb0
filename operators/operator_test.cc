// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/operator.h"

#include "ATen/core/Tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "operators/operator_testing.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

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
