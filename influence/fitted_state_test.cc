// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/fitted_state.h"

#include <limits>
#include <memory>

#include "ATen/ops/full.h"
#include "ATen/ops/ones.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/model.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
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
