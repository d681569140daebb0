// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/method_factory.h"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/method_options.h"
#include "cli/options.h"
#include "cli/usage_error.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "influence/composable_influence.h"
#include "influence/fitted_state.h"
#include "influence/kronecker_influence.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

// Blocks "0" and "2" by layer.
std::shared_ptr<const GradientProvider> Provider() {
  return AutogradGradientProvider::Create(TanhMlp({3, 4, 2}, at::kDouble, 1),
                                          CrossEntropyLoss())
      .value();
}

FitSource Source(const std::string& method,
                 const std::map<std::string, std::string>& given = {}) {
  FitSource source;
  source.dtype = at::kDouble;
  const absl::StatusOr<MethodOptions> options = ParseMethodOptions(
      method, [&](const std::string& name) -> std::optional<std::string> {
        const auto found = given.find(name);
        if (found == given.end()) return std::nullopt;
        return found->second;
      });
  EXPECT_THAT(options, IsOk());
  source.method = *options;
  return source;
}

absl::StatusOr<std::unique_ptr<ComposableInfluence>> Make(
    const FitSource& source) {
  return CreateMethod(source, {}, MarginFunction(), Provider());
}

std::shared_ptr<const BatchSequence> Data() {
  return std::make_shared<const TensorBatchSequence>(
      *TensorBatchSequence::Create(
          SeededClassification(6, 3, 2, at::kDouble, 2), 6));
}

// A fit says of itself what it was made with.
TEST(MethodFactoryTest, EveryMethodIsMadeWithItsOptions) {
  struct Case {
    std::string method;
    std::map<std::string, std::string> given;
    // What the fitted state must say.
    std::map<std::string, std::string> expected;
  };
  const std::vector<Case> cases = {
      {"identity", {{"--block-structure", "layer"}}, {}},
      {"direct",
       {{"--second-order", "gauss_newton"}, {"--block-structure", "layer"}},
       {{"curvature", "gauss_newton"}}},
      {"cg",
       {{"--tolerance", "1e-3"},
        {"--max-iterations", "17"},
        {"--preconditioner", "jacobi"}},
       {{"curvature", "generalized_gauss_newton"},
        {"max_iterations", "17"},
        {"preconditioner", "jacobi"}}},
      {"lissa",
       {{"--max-iterations", "23"}, {"--scale", "50"}},
       {{"curvature", "generalized_gauss_newton"}, {"max_iterations", "23"}}},
      {"arnoldi",
       {{"--rank", "5"}, {"--low-rank-inverse", "projected"}},
       {{"curvature", "hessian"},
        {"rank", "5"},
        {"low_rank_inverse", "projected"}}},
      {"nystroem",
       {{"--rank", "6"}},
       {{"curvature", "generalized_gauss_newton"},
        {"rank", "6"},
        {"low_rank_inverse", "exact"}}},
      {"kfac",
       {{"--fisher", "exact"}, {"--uncovered", "drop"}},
       {{"fisher", "exact"}, {"uncovered", "drop"}}},
      {"ekfac", {}, {{"fisher", "empirical"}, {"uncovered", "diagonal"}}},
      {"ihm", {{"--block-structure", "layer"}}, {}},
  };
  ASSERT_EQ(cases.size(), AllMethods().size());
  for (const Case& c : cases) {
    SCOPED_TRACE(c.method);
    std::map<std::string, std::string> given = c.given;
    if (c.method != "identity") given["--regularization"] = "2";
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const std::unique_ptr<ComposableInfluence> influence,
        Make(Source(c.method, given)));
    EXPECT_EQ(influence->query_function().name(), "margin");
    INFLUENCE_ASSERT_OK(influence->Fit(Data()));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedState state,
                                   influence->ExportState());
    EXPECT_EQ(state.method, c.method);
    for (const auto& [name, value] : c.expected) {
      const auto found = state.options.find(name);
      ASSERT_NE(found, state.options.end()) << name;
      EXPECT_EQ(found->second, value) << name;
    }
    const bool by_layer = c.given.count("--block-structure") == 1 ||
                          c.method == "kfac" || c.method == "ekfac";
    EXPECT_EQ(state.blocks.size(), by_layer ? 2 : 1);
    if (c.method != "identity") {
      EXPECT_EQ(state.regularization[0], 2);
    }
  }
}

// The table of options must not drift from the library.
TEST(MethodFactoryTest, DefaultsAreTheLibrarysOwn) {
  for (const Method method : AllMethods()) {
    SCOPED_TRACE(MethodName(method));
    const std::string name(MethodName(method));
    const bool is_low_rank = HasOption(method, "--low-rank-inverse");
    // As many as the small network has at least.
    std::map<std::string, std::string> given;
    if (method != Method::kIdentity) given["--regularization"] = "2";
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const std::unique_ptr<ComposableInfluence> influence,
        Make(Source(name, given)));
    INFLUENCE_ASSERT_OK(influence->Fit(Data()));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedState state,
                                   influence->ExportState());
    if (is_low_rank) {
      EXPECT_EQ(state.options.at("rank"), *DefaultOf(method, "--rank"));
    }
    if (HasOption(method, "--max-iterations")) {
      EXPECT_EQ(state.options.at("max_iterations"),
                *DefaultOf(method, "--max-iterations"));
    }
  }
}

TEST(MethodFactoryTest, BlocksThatDoNotExistAreAUsageError) {
  const absl::Status unknown =
      Make(Source("direct", {{"--block-structure", "layer"},
                             {"--regularization", "0=1,2=2,third=3"}}))
          .status();
  EXPECT_TRUE(IsUsageError(unknown));
  EXPECT_THAT(unknown, StatusIs(absl::StatusCode::kInvalidArgument,
                                "--regularization: found unknown block third, "
                                "expected 0, 2"));
  for (const std::string method : {"direct", "cg", "ihm", "arnoldi"}) {
    const absl::Status missing =
        Make(Source(method, {{"--block-structure", "layer"},
                             {"--regularization", "0=1"}}))
            .status();
    EXPECT_TRUE(IsUsageError(missing));
    EXPECT_THAT(missing, StatusIs(absl::StatusCode::kInvalidArgument,
                                  HasSubstr("no value for block 2")));
  }
  EXPECT_TRUE(IsUsageError(
      Make(Source("ekfac", {{"--regularization", "0=1"}})).status()));
}

TEST(MethodFactoryTest, ARankAboveTheParametersIsAUsageError) {
  for (const std::string method : {"arnoldi", "nystroem"}) {
    const absl::Status status =
        Make(Source(method, {{"--rank", "27"}})).status();
    EXPECT_TRUE(IsUsageError(status));
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                                 HasSubstr("--rank: found 27")));
  }
}

TEST(MethodFactoryTest, AScoreToleranceIsAnotherModelOfTheSameFit) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<ComposableInfluence> exact,
      Make(Source("ekfac", {{"--regularization", "0.1"}})));
  INFLUENCE_ASSERT_OK(exact->Fit(Data()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<ComposableInfluence> rough,
      WithScoreTolerance(*exact, 0.9));
  EXPECT_TRUE(rough->is_fitted());
  EXPECT_EQ(dynamic_cast<KroneckerInfluence&>(*rough).score_tolerance(), 0.9);
  EXPECT_EQ(dynamic_cast<KroneckerInfluence&>(*exact).score_tolerance(), 0);
  // Factors know no tolerance.
  const Batch batch = SeededClassification(4, 3, 2, at::kDouble, 3);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor factors,
                                 exact->InfluenceFactors(batch));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor same,
                                 rough->InfluenceFactors(batch));
  EXPECT_THAT(same, TensorNear(factors, 0));
}

TEST(MethodFactoryTest, AFitErrorNamesItsOptionOrItsFile) {
  EXPECT_EQ(ExplainFitError(
                "train.npz",
                absl::InvalidArgumentError(
                    "block full: regularization: found 0, with which ..."))
                .message(),
            "--regularization: block full: found 0, with which ...");
  EXPECT_EQ(
      ExplainFitError("train.npz", absl::InvalidArgumentError(
                                       "block full: curvature: found an ..."))
          .message(),
      "--second-order: block full: found an ...");
  // No option, but the end of what is done.
  EXPECT_EQ(ExplainFitError("train.npz",
                            absl::InternalError("dense curvature: out of luck"))
                .message(),
            "train.npz: dense curvature: out of luck");
  EXPECT_EQ(ExplainFitError("train.npz", absl::InternalError("lost")).message(),
            "train.npz: lost");
}

TEST(MethodFactoryTest, ScoresOfSomeMethodsComeFromKeptFactors) {
  EXPECT_TRUE(KeepsFactors(Method::kDirect));
  EXPECT_TRUE(KeepsFactors(Method::kCg));
  EXPECT_FALSE(KeepsFactors(Method::kIdentity));
  EXPECT_FALSE(KeepsFactors(Method::kEkfac));
}

}  // namespace
}  // namespace influence
