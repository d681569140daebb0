// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/jacobi_preconditioner.h"

#include <cstdint>
#include <limits>
#include <memory>

#include "ATen/core/Tensor.h"
#include "ATen/ops/diag.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/operator_testing.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(GaussNewtonDiagonalTest, EqualsTheDiagonalOfTheDenseMatrix) {
  const auto model = TanhMlp({3, 4, 2}, at::kDouble, 1);
  const Batch data = SeededClassification(9, 3, 2, at::kDouble, 2);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::shared_ptr<const GradientProvider> provider,
      CapturingGradientProvider::Create(model, CrossEntropyLoss(), data));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto part, provider->Restrict({2, 1}));
  for (const auto& of : {provider, part}) {
    const at::Tensor expected = DenseGaussNewton(*of, data).diagonal();
    for (const int64_t batch_size : {1, 4, 9}) {
      SCOPED_TRACE(absl::StrCat("batches of ", batch_size));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const auto batches, TensorBatchSequence::Create(data, batch_size));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor diagonal,
                                     GaussNewtonDiagonal(*of, batches));
      EXPECT_THAT(diagonal, TensorNear(expected, 1e-13));
    }
  }
}

TEST(JacobiPreconditionerTest, KeepsTheOperatorContract) {
  const at::Tensor diagonal = at::tensor({4.0, 0.0, 1e-3, 7.0}, at::kDouble);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto op,
                                 JacobiPreconditioner::Create(diagonal, 0.5));
  OperatorContract contract;
  contract.relative_tolerance = 1e-15;
  ExpectOperatorContract(*op, at::diag(diagonal.add(0.5).reciprocal()),
                         contract);
}

TEST(JacobiPreconditionerTest, AParameterWithoutGradientsIsLeftAsItIs) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto op,
      JacobiPreconditioner::Create(at::tensor({4.0, 0.0}, at::kDouble), 0));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor result, op->Apply(at::tensor({8.0, 3.0}, at::kDouble)));
  EXPECT_THAT(result, TensorNear(at::tensor({2.0, 3.0}, at::kDouble), 0));
}

TEST(JacobiPreconditionerTest, RefusesBadArguments) {
  EXPECT_THAT(JacobiPreconditioner::Create(at::zeros({2, 2}, at::kDouble), 1),
              StatusIs(kInvalid, HasSubstr("[2, 2]")));
  EXPECT_THAT(
      JacobiPreconditioner::Create(at::tensor({1.0, -2.0}, at::kDouble), 1),
      StatusIs(kInvalid, HasSubstr("found -2")));
  EXPECT_THAT(JacobiPreconditioner::Create(at::zeros({2}, at::kDouble), -1),
              StatusIs(kInvalid, HasSubstr("regularization: found -1")));
  EXPECT_THAT(
      JacobiPreconditioner::Create(
          at::tensor({std::numeric_limits<double>::quiet_NaN()}, at::kDouble),
          1),
      StatusIs(kInvalid, HasSubstr("diagonal")));
}

}  // namespace
}  // namespace influence
