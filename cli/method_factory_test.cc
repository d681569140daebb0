// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/method_factory.h"

#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/ones.h"
#include "absl/status/status.h"
#include "cli/options.h"
#include "cli/usage_error.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "influence/composable_influence.h"
#include "influence/direct_influence.h"
#include "influence/identity_influence.h"
#include "influence/regularization.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<const GradientProvider> Provider() {
  const at::Tensor weight = ParameterLike(at::ones({2, 3}));
  const at::Tensor bias = ParameterLike(at::ones({3}));
  auto model = std::make_shared<FunctionModel>(
      std::vector<NamedParameter>{{"weight", weight}, {"bias", bias}},
      [weight, bias](const std::vector<at::Tensor>& x) {
        return at::matmul(x[0], weight).add(bias);
      });
  return AutogradGradientProvider::Create(model, CrossEntropyLoss()).value();
}

TEST(MethodFactoryTest, MakesTheMethodWithItsBlocksAndQueryFunction) {
  ScoresOptions options;
  options.query_function = MarginFunction();
  options.block_structure = BlockStructure::kParameter;
  options.method = Method::kIdentity;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<ComposableInfluence> identity,
      CreateMethod(options, Provider()));
  EXPECT_NE(dynamic_cast<IdentityInfluence*>(identity.get()), nullptr);
  EXPECT_EQ(identity->blocks().blocks().size(), 2);
  EXPECT_EQ(identity->query_function().name(), "margin");

  options.method = Method::kDirect;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<ComposableInfluence> direct,
      CreateMethod(options, Provider()));
  EXPECT_NE(dynamic_cast<DirectInfluence*>(direct.get()), nullptr);
  EXPECT_EQ(direct->blocks().blocks().size(), 2);
  EXPECT_EQ(direct->query_function().name(), "margin");
}

TEST(MethodFactoryTest, BlocksThatDoNotExistAreAUsageError) {
  ScoresOptions options;
  options.method = Method::kDirect;
  options.block_structure = BlockStructure::kParameter;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      options.regularization, Regularization::Parse("weight=1,bias=2,third=3"));
  const absl::Status unknown = CreateMethod(options, Provider()).status();
  EXPECT_TRUE(IsUsageError(unknown));
  EXPECT_THAT(unknown, StatusIs(absl::StatusCode::kInvalidArgument,
                                "--regularization: found unknown block third, "
                                "expected weight, bias"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(options.regularization,
                                 Regularization::Parse("weight=1"));
  const absl::Status missing = CreateMethod(options, Provider()).status();
  EXPECT_TRUE(IsUsageError(missing));
  EXPECT_THAT(missing, StatusIs(absl::StatusCode::kInvalidArgument,
                                HasSubstr("no value for block bias")));
}

TEST(MethodFactoryTest, AFitErrorNamesItsOptionOrItsFile) {
  ScoresOptions options;
  options.train = "train.npz";
  EXPECT_EQ(
      ExplainFitError(
          options, absl::InvalidArgumentError(
                       "block full: regularization: found 0, with which ..."))
          .message(),
      "--regularization: block full: found 0, with which ...");
  EXPECT_EQ(ExplainFitError(options, absl::InternalError("lost")).message(),
            "train.npz: lost");
}

}  // namespace
}  // namespace influence
