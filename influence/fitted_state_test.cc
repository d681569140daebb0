// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/fitted_state.h"

#include <cstdint>
#include <limits>
#include <memory>

#include "ATen/ops/full.h"
#include "ATen/ops/ones.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/model.h"
#include "gtest/gtest.h"
#include "influence/regularization.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

FittedState State() {
  FittedState state;
  state.method = "direct";
  state.options = {{"curvature", "hessian"}, {"rank", "12"}, {"scale", "0.5"}};
  state.arrays = {{"c", at::ones({2, 3}, at::kDouble)},
                  {"bad", at::full({2}, std::numeric_limits<double>::infinity(),
                                   at::kDouble)}};
  return state;
}

TEST(FittedStateTest, FindsArraysByNameDtypeAndShape) {
  const FittedState state = State();
  EXPECT_THAT(ArrayOfState(state, "c", at::kDouble, {2, 3}), IsOk());
  EXPECT_THAT(ArrayOfState(state, "c", at::kDouble, {-1, 3}), IsOk());
  EXPECT_THAT(ArrayOfState(state, "c", at::kDouble, {2, 4}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("c: found shape [2, 3]"),
                             HasSubstr("expected [2, 4]"))));
  EXPECT_THAT(ArrayOfState(state, "c", at::kDouble, {6}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[6]")));
  EXPECT_THAT(ArrayOfState(state, "c", at::kFloat, {2, 3}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found dtype float64, expected float32")));
  EXPECT_THAT(ArrayOfState(state, "d", at::kDouble, {2, 3}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found no array d")));
  EXPECT_THAT(ArrayOfState(state, "bad", at::kDouble, {2}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("inf")));
}

TEST(FittedStateTest, ReadsOptions) {
  const FittedState state = State();
  EXPECT_EQ(OptionOfState(state, "curvature").value(), "hessian");
  EXPECT_EQ(IntegerOfState(state, "rank").value(), 12);
  EXPECT_EQ(NumberOfState(state, "scale").value(), 0.5);
  EXPECT_THAT(OptionOfState(state, "dampen"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found no option dampen")));
  EXPECT_THAT(IntegerOfState(state, "scale"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'0.5'")));
  EXPECT_THAT(
      NumberOfState(state, "curvature"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'hessian'")));
}

TEST(FittedStateTest, SeedsAreUnsigned) {
  FittedState state = State();
  state.options["seed"] = "18446744073709551615";
  EXPECT_EQ(SeedOfState(state, "seed").value(),
            std::numeric_limits<uint64_t>::max());
  state.options["seed"] = "-1";
  EXPECT_THAT(SeedOfState(state, "seed"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("seed: found '-1'")));
}

TEST(FittedStateTest, HasARegularizationForEachBlock) {
  FittedState state = State();
  state.blocks = {{"a", {"x"}}, {"b", {"y"}}};
  state.regularization = {0.5, 0.25};
  state.auto_regularization = {2, 3};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedRegularization found,
                                 RegularizationOfState(state));
  EXPECT_THAT(found.values, ElementsAre(0.5, 0.25));
  EXPECT_THAT(found.auto_values, ElementsAre(2, 3));
  state.regularization = {};
  EXPECT_THAT(RegularizationOfState(state),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found 0 regularizations, expected 2")));
}

TEST(FittedStateTest, NumbersReadBackExactly) {
  FittedState state = State();
  for (const double value : {0.1, 1e-300, 12345678901234567.0, -1.0 / 3}) {
    state.options["value"] = NumberText(value);
    EXPECT_EQ(NumberOfState(state, "value").value(), value);
  }
}

TEST(FittedStateTest, BlocksMustFitTheModelAndTheMethod) {
  const std::shared_ptr<const Model> mlp = TanhMlp({2, 2}, at::kDouble, 1);
  const Model& model = *mlp;
  FittedState state = State();
  state.blocks = {{"all", {model.parameters()[0].name}}};
  EXPECT_THAT(BlocksOfState(state, "direct", model), IsOk());
  EXPECT_THAT(BlocksOfState(state, "cg", model),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found method direct, expected cg")));
  state.regularization = {0.1, 0.2};
  EXPECT_THAT(BlocksOfState(state, "direct", model),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found 2 regularizations, expected 1")));
  state.regularization = {-1};
  EXPECT_THAT(BlocksOfState(state, "direct", model),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("-1")));
  state.regularization = {};
  state.blocks[0].parameters = {"nobody"};
  EXPECT_THAT(
      BlocksOfState(state, "direct", model),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nobody")));
}

}  // namespace
}  // namespace influence
