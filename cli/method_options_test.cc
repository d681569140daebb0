// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/method_options.h"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/usage_error.h"
#include "gmock/gmock.h"
#include "gradients/parameter_blocks.h"
#include "gtest/gtest.h"
#include "operators/curvature.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

using Given = std::map<std::string, std::string>;

absl::StatusOr<MethodOptions> Parse(const std::string& method,
                                    const Given& given = {}) {
  return ParseMethodOptions(
      method, [&](const std::string& name) -> std::optional<std::string> {
        const auto found = given.find(name);
        if (found == given.end()) return std::nullopt;
        return found->second;
      });
}

void ExpectUsageError(const absl::StatusOr<MethodOptions>& options,
                      const std::string& message) {
  EXPECT_THAT(options,
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  EXPECT_TRUE(IsUsageError(options.status()));
}

// A value that each option takes.
const Given kGoodValues = {
    {"--regularization", "1e-3"},
    {"--block-structure", "layer"},
    {"--second-order", "gauss_newton"},
    {"--tolerance", "1e-4"},
    {"--max-iterations", "7"},
    {"--preconditioner", "jacobi"},
    {"--rank", "5"},
    {"--low-rank-inverse", "projected"},
    {"--scale", "3.5"},
    {"--dampen", "0.25"},
    {"--fisher", "sampled"},
    {"--uncovered", "drop"},
    {"--max-factor-size", "1000"},
};

// The options of each method as documented, written down a second time.
const std::map<std::string, std::set<std::string>> kOptionsOf = {
    {"identity", {"--block-structure"}},
    {"direct", {"--regularization", "--block-structure", "--second-order"}},
    {"cg",
     {"--regularization", "--block-structure", "--second-order", "--tolerance",
      "--max-iterations", "--preconditioner", "--rank"}},
    {"lissa",
     {"--regularization", "--block-structure", "--second-order", "--tolerance",
      "--max-iterations", "--scale", "--dampen"}},
    {"arnoldi",
     {"--regularization", "--block-structure", "--second-order", "--rank",
      "--low-rank-inverse"}},
    {"nystroem",
     {"--regularization", "--block-structure", "--second-order", "--rank",
      "--low-rank-inverse"}},
    {"kfac",
     {"--regularization", "--fisher", "--uncovered", "--max-factor-size"}},
    {"ekfac",
     {"--regularization", "--fisher", "--uncovered", "--max-factor-size"}},
    {"ihm", {"--regularization", "--block-structure"}},
};

TEST(MethodOptionsTest, EveryMethodTakesItsOptionsAndRefusesAllOthers) {
  ASSERT_EQ(AllMethods().size(), kOptionsOf.size());
  ASSERT_EQ(MethodOptionTable().size(), kGoodValues.size());
  for (const auto& [method, options] : kOptionsOf) {
    for (const auto& [name, value] : kGoodValues) {
      SCOPED_TRACE(method + " " + name);
      Given given = {{name, value}};
      if (method == "cg" && name == "--rank") {
        given["--preconditioner"] = "nystroem";
      }
      if (options.count(name) == 1) {
        INFLUENCE_EXPECT_OK(Parse(method, given));
      } else {
        ExpectUsageError(Parse(method, given),
                         name + ": found '" + value +
                             "', expected nothing with --method " + method +
                             ", which has --");
      }
    }
  }
}

TEST(MethodOptionsTest, MethodsAreKnownByTheirNames) {
  for (const Method method : AllMethods()) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const MethodOptions options,
                                   Parse(std::string(MethodName(method))));
    EXPECT_EQ(options.method, method);
    EXPECT_TRUE(options.regularization.is_auto());
  }
  ExpectUsageError(Parse("Direct"),
                   "--method: found 'Direct', expected identity or direct or "
                   "cg or lissa or arnoldi or nystroem or kfac or ekfac or "
                   "ihm");
}

TEST(MethodOptionsTest, DefaultsAreThoseOfTheMethod) {
  const std::vector<std::pair<std::string, Curvature>> curvatures = {
      {"direct", Curvature::kHessian},
      {"arnoldi", Curvature::kHessian},
      {"cg", Curvature::kGeneralizedGaussNewton},
      {"lissa", Curvature::kGeneralizedGaussNewton},
      {"nystroem", Curvature::kGeneralizedGaussNewton},
  };
  for (const auto& [method, curvature] : curvatures) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const MethodOptions options, Parse(method));
    EXPECT_EQ(options.curvature, curvature) << method;
    EXPECT_EQ(options.block_structure, BlockStructure::kFull) << method;
  }
  for (const std::string method : {"kfac", "ekfac"}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const MethodOptions options, Parse(method));
    EXPECT_EQ(options.block_structure, BlockStructure::kLayer);
    EXPECT_EQ(options.fisher, "empirical");
    EXPECT_EQ(options.uncovered, "diagonal");
    EXPECT_EQ(options.max_factor_size, 0);
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const MethodOptions lissa, Parse("lissa"));
  EXPECT_EQ(lissa.scale, std::nullopt);
  EXPECT_EQ(lissa.dampen, 0);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const MethodOptions arnoldi, Parse("arnoldi"));
  EXPECT_EQ(arnoldi.low_rank_inverse, "exact");
}

TEST(MethodOptionsTest, ValuesAreTaken) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const MethodOptions cg, Parse("cg", {{"--tolerance", "1e-4"},
                                           {"--max-iterations", "7"},
                                           {"--preconditioner", "nystroem"},
                                           {"--rank", "5"},
                                           {"--second-order", "hessian"},
                                           {"--block-structure", "parameter"},
                                           {"--regularization", "0"}}));
  EXPECT_EQ(cg.tolerance, 1e-4);
  EXPECT_EQ(cg.max_iterations, 7);
  EXPECT_EQ(cg.preconditioner, "nystroem");
  EXPECT_EQ(cg.rank, 5);
  EXPECT_EQ(cg.curvature, Curvature::kHessian);
  EXPECT_EQ(cg.block_structure, BlockStructure::kParameter);
  EXPECT_EQ(cg.regularization.ToString(), "0");
  EXPECT_THAT(
      cg.values,
      UnorderedElementsAre(
          Pair("regularization", "0"), Pair("block_structure", "parameter"),
          Pair("second_order", "hessian"), Pair("tolerance", "1e-4"),
          Pair("max_iterations", "7"), Pair("preconditioner", "nystroem"),
          Pair("rank", "5")));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const MethodOptions plain, Parse("cg"));
  EXPECT_EQ(plain.values.count("rank"), 0);
  EXPECT_EQ(plain.values.at("regularization"), "auto");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const MethodOptions lissa,
      Parse("lissa", {{"--scale", "3.5"}, {"--dampen", "0.25"}}));
  EXPECT_EQ(lissa.scale, 3.5);
  EXPECT_EQ(lissa.dampen, 0.25);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const MethodOptions ekfac,
      Parse("ekfac", {{"--fisher", "exact"}, {"--uncovered", "error"}}));
  EXPECT_EQ(ekfac.fisher, "exact");
  EXPECT_EQ(ekfac.uncovered, "error");
}

TEST(MethodOptionsTest, ABadValueNamesWhatIsExpected) {
  struct Case {
    std::string method, option, value, expected;
  };
  const std::vector<Case> cases = {
      {"cg", "--tolerance", "-1", "a number >= 0"},
      {"cg", "--tolerance", "inf", "a number >= 0"},
      {"cg", "--max-iterations", "0", "an integer >= 1"},
      {"cg", "--preconditioner", "ilu", "none or jacobi or nystroem"},
      {"arnoldi", "--rank", "0", "an integer >= 1"},
      {"arnoldi", "--rank", "2.5", "an integer >= 1"},
      {"nystroem", "--low-rank-inverse", "pseudo", "exact or projected"},
      {"lissa", "--scale", "0", "auto or a number > 0"},
      {"lissa", "--scale", "nan", "auto or a number > 0"},
      {"lissa", "--dampen", "1", "a number in [0, 1)"},
      {"kfac", "--fisher", "true", "empirical or exact or sampled"},
      {"kfac", "--uncovered", "keep", "diagonal or drop or error"},
      {"kfac", "--max-factor-size", "-1", "an integer >= 0"},
      {"direct", "--second-order", "fisher",
       "hessian or gauss_newton or generalized_gauss_newton"},
      {"ihm", "--block-structure", "blocks", "full or layer or parameter"},
      {"direct", "--regularization", "-1", ">= 0"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.method + " " + c.option + " " + c.value);
    ExpectUsageError(Parse(c.method, {{c.option, c.value}}), c.option + ": ");
    ExpectUsageError(Parse(c.method, {{c.option, c.value}}), c.expected);
  }
}

TEST(MethodOptionsTest, AnInverseThatDividesByLambdaRefusesZero) {
  for (const std::string zero : {"0", "0.0", "a=1,b=0"}) {
    ExpectUsageError(Parse("ihm", {{"--regularization", zero}}),
                     "--regularization: found '" + zero +
                         "', expected values > 0 with --method ihm");
    for (const std::string method : {"arnoldi", "nystroem"}) {
      ExpectUsageError(Parse(method, {{"--regularization", zero}}),
                       "expected values > 0 with --method " + method +
                           ", or --low-rank-inverse projected");
      INFLUENCE_EXPECT_OK(Parse(method, {{"--regularization", zero},
                                         {"--low-rank-inverse", "projected"}}));
    }
    INFLUENCE_EXPECT_OK(Parse("direct", {{"--regularization", zero}}));
  }
  INFLUENCE_EXPECT_OK(Parse("ihm", {{"--regularization", "a=1,b=0.1"}}));
}

TEST(MethodOptionsTest, ARankOfCgNeedsItsPreconditioner) {
  for (const std::string kind : {"none", "jacobi"}) {
    ExpectUsageError(Parse("cg", {{"--rank", "4"}, {"--preconditioner", kind}}),
                     "--rank: found '4', expected nothing with --method cg "
                     "unless --preconditioner is nystroem");
  }
}

TEST(MethodOptionsTest, TheTableSaysWhatIsTheDefault) {
  EXPECT_EQ(DefaultOf(Method::kCg, "--second-order"),
            "generalized_gauss_newton");
  EXPECT_EQ(DefaultOf(Method::kKfac, "--second-order"), std::nullopt);
  EXPECT_EQ(DefaultOf(Method::kKfac, "--hyperdrive"), std::nullopt);
  EXPECT_FALSE(HasOption(Method::kIdentity, "--regularization"));
  for (const MethodOption& option : MethodOptionTable()) {
    if (option.name != "--second-order") continue;
    EXPECT_THAT(option.help, AllOf(HasSubstr("direct, arnoldi: hessian"),
                                   HasSubstr("cg, lissa, nystroem: "
                                             "generalized_gauss_newton")));
  }
}

TEST(MethodOptionsTest, OnlyTheKroneckerMethodsHaveAScoreTolerance) {
  for (const Method method : AllMethods()) {
    const absl::Status status = CheckScoreTolerance(method, "1e-3");
    const bool has = method == Method::kKfac || method == Method::kEkfac;
    EXPECT_EQ(status.ok(), has);
    if (!has) {
      EXPECT_TRUE(IsUsageError(status));
      EXPECT_THAT(status.message(),
                  HasSubstr("--score-tolerance: found '1e-3', expected nothing "
                            "with --method"));
    }
  }
}

}  // namespace
}  // namespace influence
