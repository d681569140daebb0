// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/operator_testing.h"

#include <functional>
#include <string>
#include <utility>

#include "ATen/core/Tensor.h"
#include "ATen/ops/eye.h"
#include "gmock/gmock.h"
#include "gtest/gtest-spi.h"
#include "gtest/gtest.h"
#include "operators/operator.h"
#include "operators/problem_testing.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class LambdaOperator : public Operator {
 public:
  using Function = std::function<at::Tensor(const at::Tensor&)>;

  LambdaOperator(int64_t size, Function function)
      : size_(size), function_(std::move(function)) {}

  int64_t input_size() const override { return size_; }

 protected:
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override {
    return function_(matrix);
  }

 private:
  int64_t size_;
  Function function_;
};

const at::Tensor& Symmetric() {
  static const at::Tensor& matrix = *new at::Tensor([] {
    const at::Tensor a = SeededNormal({4, 4}, at::kDouble, 1);
    return a.add(a.t());
  }());
  return matrix;
}

LambdaOperator Product(const at::Tensor& a) {
  return LambdaOperator(a.size(0), [a](const at::Tensor& matrix) {
    return matrix.matmul(a.t());
  });
}

TEST(ExpectOperatorContractTest, AcceptsAProduct) {
  ExpectOperatorContract(Product(Symmetric()), Symmetric());
}

// The messages of the failures of one check.
std::string Failures(const Operator& op, const at::Tensor& dense,
                     const OperatorContract& contract = {}) {
  testing::TestPartResultArray failures;
  {
    testing::ScopedFakeTestPartResultReporter reporter(
        testing::ScopedFakeTestPartResultReporter::
            INTERCEPT_ONLY_CURRENT_THREAD,
        &failures);
    ExpectOperatorContract(op, dense, contract);
  }
  std::string messages;
  for (int i = 0; i < failures.size(); ++i) {
    messages += failures.GetTestPartResult(i).message();
  }
  return messages;
}

TEST(ExpectOperatorContractTest, NamesTheColumnThatDiffers) {
  at::Tensor other = Symmetric().clone();
  other.select(1, 2).add_(1e-9);
  OperatorContract contract;
  contract.symmetric = false;
  EXPECT_THAT(Failures(Product(other), Symmetric(), contract),
              AllOf(HasSubstr("column 2"), Not(HasSubstr("column 1"))));
}

TEST(ExpectOperatorContractTest, SeesATransposedMatrix) {
  const at::Tensor a = SeededNormal({4, 4}, at::kDouble, 1);
  OperatorContract contract;
  contract.symmetric = false;
  EXPECT_EQ(Failures(Product(a), a, contract), "");
  EXPECT_THAT(Failures(Product(a.t()), a, contract), HasSubstr("column 0"));
}

TEST(ExpectOperatorContractTest, SeesAnAsymmetricOperator) {
  const at::Tensor a = SeededNormal({4, 4}, at::kDouble, 1);
  EXPECT_THAT(Failures(Product(a), a), HasSubstr("not symmetric"));
}

// Right on unit vectors, quadratic elsewhere.
TEST(ExpectOperatorContractTest, SeesAnOperatorThatIsNotLinear) {
  const LambdaOperator squares(
      4, [](const at::Tensor& matrix) { return matrix.square(); });
  EXPECT_THAT(Failures(squares, at::eye(4, at::kDouble)),
              HasSubstr("not linear"));
}

TEST(ExpectOperatorContractTest, SeesAResultThatIsAView) {
  const LambdaOperator view(4, [](const at::Tensor& matrix) { return matrix; });
  EXPECT_THAT(Failures(view, at::eye(4, at::kDouble)),
              HasSubstr("view of the operand"));
}

}  // namespace
}  // namespace influence
