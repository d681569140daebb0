// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/plan_text.h"

#include <string>

#include "cli/method_options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "influence/regularization.h"
#include "operators/curvature.h"

namespace influence {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(PlanTextTest, TheCostOfAMethodNamesItsPasses) {
  MethodOptions method;
  EXPECT_THAT(CostText(method), IsEmpty());
  method.method = Method::kDirect;
  EXPECT_EQ(CostText(method), "fit direct (hessian) in 2 passes");
  method.curvature = Curvature::kGaussNewton;
  EXPECT_EQ(CostText(method), "fit direct (gauss_newton) in 1 pass");
  method.method = Method::kEkfac;
  EXPECT_EQ(CostText(method), "fit ekfac (empirical Fisher) in 2 passes");
  method.regularization = Regularization::Constant(1).value();
  method.method = Method::kCg;
  method.max_iterations = 7;
  EXPECT_EQ(CostText(method),
            "fit cg (gauss_newton), solve in at most 7 iterations");
  for (const Method any : AllMethods()) {
    if (any == Method::kIdentity) continue;
    method.method = any;
    EXPECT_THAT(CostText(method), HasSubstr(std::string(MethodName(any))));
  }
}

}  // namespace
}  // namespace influence
