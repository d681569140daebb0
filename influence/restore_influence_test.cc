// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/restore_influence.h"

#include <memory>
#include <string>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "influence/composable_influence.h"
#include "influence/fitted_models_testing.h"
#include "influence/fitted_state.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class RestoreInfluenceTest : public ::testing::TestWithParam<std::string> {};

TEST_P(RestoreInfluenceTest, GivesTheSameScores) {
  const FittedProblem problem = MakeFittedProblem();
  const auto fitted = FitMethod(GetParam(), problem);
  ASSERT_NE(fitted, nullptr) << "FitMethod() does not know " << GetParam();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedState state,
                                 fitted->ExportState());
  EXPECT_EQ(state.method, GetParam());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto restored,
      RestoreInfluence(
          state, problem.provider,
          RestoringTakesData(GetParam()) ? problem.train : nullptr));
  EXPECT_TRUE(restored->is_fitted());
  EXPECT_EQ(restored->num_fitted_samples(), 9);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor expected,
      fitted->Influences(problem.test, problem.train_batch));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor scores,
      restored->Influences(problem.test, problem.train_batch));
  EXPECT_TRUE(scores.equal(expected));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor factors,
                                 fitted->InfluenceFactors(problem.test));
  EXPECT_TRUE(restored->InfluenceFactors(problem.test).value().equal(factors));

  // And it can be stored again, as the same.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedState again,
                                 restored->ExportState());
  EXPECT_EQ(again.options, state.options);
  EXPECT_EQ(again.regularization, state.regularization);
  EXPECT_EQ(again.auto_regularization, state.auto_regularization);
  ASSERT_EQ(again.arrays.size(), state.arrays.size());
  for (size_t i = 0; i < again.arrays.size(); ++i) {
    EXPECT_EQ(again.arrays[i].name, state.arrays[i].name);
    EXPECT_TRUE(again.arrays[i].values.equal(state.arrays[i].values));
  }
}

TEST_P(RestoreInfluenceTest, TakesAnotherQueryFunction) {
  const FittedProblem problem = MakeFittedProblem();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedState state,
                                 FitMethod(GetParam(), problem)->ExportState());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto restored, RestoreInfluence(state, problem.provider,
                                            problem.train, MarginFunction()));
  EXPECT_EQ(restored->query_function().name(), MarginFunction().name());
}

TEST_P(RestoreInfluenceTest, RefusesNoProvider) {
  const FittedProblem problem = MakeFittedProblem();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedState state,
                                 FitMethod(GetParam(), problem)->ExportState());
  EXPECT_THAT(RestoreInfluence(state, nullptr, problem.train),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("provider: is null")));
}

INSTANTIATE_TEST_SUITE_P(Methods, RestoreInfluenceTest,
                         ::testing::ValuesIn(RestorableMethods()),
                         [](const auto& method) { return method.param; });

TEST(RestoreInfluenceNamesTest, ListsWhatIsKnown) {
  FittedState state;
  state.method = "magic";
  EXPECT_THAT(RestoreInfluence(state, MakeFittedProblem().provider),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("found method \"magic\""),
                             HasSubstr("direct, "), HasSubstr("identity"))));
}

TEST(RestoreInfluenceDataTest, SaysWhoSolvesWithData) {
  EXPECT_TRUE(RestoringTakesData("cg"));
  EXPECT_FALSE(RestoringTakesData("identity"));
  EXPECT_FALSE(RestoringTakesData("magic"));
  const FittedProblem problem = MakeFittedProblem();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedState state,
                                 FitMethod("cg", problem)->ExportState());
  EXPECT_THAT(
      RestoreInfluence(state, problem.provider),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("data: is null")));
}

}  // namespace
}  // namespace influence
