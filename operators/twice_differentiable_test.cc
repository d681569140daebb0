// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/twice_differentiable.h"

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/generalized_linear_model.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

TEST(TwiceDifferentiableTest, EachKindSaysItsNameSizeAndDtype) {
  const auto network = TanhMlp({3, 4, 2}, at::kFloat, 1);
  const auto batch = SeededClassification(5, 3, 2, at::kFloat, 2);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto autograd,
      AutogradModel::Create(
          *AutogradGradientProvider::Create(network, CrossEntropyLoss())));
  EXPECT_EQ(autograd->kind(), "autograd");
  EXPECT_EQ(autograd->num_parameters(), 26);
  EXPECT_EQ(autograd->dtype(), at::kFloat);

  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto capturing,
      CapturingModel::Create(*CapturingGradientProvider::Create(
          network, CrossEntropyLoss(), batch)));
  EXPECT_EQ(capturing->kind(), "capturing");
  EXPECT_EQ(capturing->num_parameters(), 26);
  EXPECT_EQ(capturing->provider()->num_parameters(), 26);

  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto closed_form,
      ClosedFormModel::Create(*GeneralizedLinearModel::Create(
          GeneralizedLinearLoss::kMeanSquaredError,
          SeededNormal({2, 3}, at::kFloat, 3))));
  EXPECT_EQ(closed_form->kind(), "generalized_linear");
  EXPECT_EQ(closed_form->num_parameters(), 6);
  EXPECT_EQ(closed_form->dtype(), at::kDouble);
}

TEST(TwiceDifferentiableTest, RefusesNull) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(AutogradModel::Create(nullptr),
              StatusIs(kInvalid, HasSubstr("provider: is null")));
  EXPECT_THAT(CapturingModel::Create(nullptr),
              StatusIs(kInvalid, HasSubstr("provider: is null")));
  EXPECT_THAT(ClosedFormModel::Create(nullptr),
              StatusIs(kInvalid, HasSubstr("model: is null")));
}

}  // namespace
}  // namespace influence
