// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Every method against the golden cases: scores from dense float64 matrices
// that PyTorch computed in Python.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gradients/script_model.h"
#include "gtest/gtest.h"
#include "influence/composable_influence.h"
#include "influence/influence_mode.h"
#include "influence/regularization.h"
#include "operators/curvature.h"
#include "tests/support/golden_case.h"
#include "tests/support/influence_method.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

// The project's promises, relative to the largest score.
constexpr double kTolerance = 1e-8;
constexpr double kFullRankTolerance = 1e-6;

constexpr BlockStructure kStructures[] = {
    BlockStructure::kFull, BlockStructure::kLayer, BlockStructure::kParameter};
constexpr Curvature kCurvatures[] = {Curvature::kHessian,
                                     Curvature::kGaussNewton,
                                     Curvature::kGeneralizedGaussNewton};

const std::vector<GoldenMethods>& AllMethods() {
  static const auto* methods = [] {
    absl::StatusOr<std::vector<GoldenMethods>> loaded = LoadGoldenMethods();
    INFLUENCE_CHECK(loaded.ok());
    return new std::vector<GoldenMethods>(*std::move(loaded));
  }();
  return *methods;
}

std::vector<std::string> AllNames() {
  std::vector<std::string> names;
  for (const GoldenMethods& methods : AllMethods()) {
    names.push_back(methods.golden.name);
  }
  return names;
}

InfluenceMethod MethodOf(const GoldenResult& result) {
  InfluenceMethod method;
  method.method = result.method;
  method.regularization = Regularization::Auto();
  if (result.regularization.has_value()) {
    method.regularization = *Regularization::Constant(*result.regularization);
  }
  if (!result.structure.empty()) {
    method.structure = *ParseBlockStructure(result.structure);
  }
  if (!result.curvature.empty()) {
    method.curvature = *ParseCurvature(result.curvature);
  }
  if (!result.fisher.empty()) method.fisher = result.fisher;
  if (!result.uncovered.empty()) method.uncovered = result.uncovered;
  if (!result.low_rank_inverse.empty()) {
    method.low_rank_inverse = result.low_rank_inverse;
  }
  if (result.scale > 0) method.scale = result.scale;
  method.dampen = result.dampen;
  method.rank = result.rank;
  method.seed = result.seed;
  return method;
}

class GoldenMethodsTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const auto found = std::find_if(AllMethods().begin(), AllMethods().end(),
                                    [](const GoldenMethods& methods) {
                                      return methods.golden.name == GetParam();
                                    });
    ASSERT_NE(found, AllMethods().end());
    methods_ = *found;
    if (!golden().RunsHere()) {
      GTEST_SKIP() << "needs LibTorch " << golden().min_torch;
    }
    at::set_num_threads(1);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(arrays_, LoadGoldenArrays(golden()));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(results_, LoadGoldenArrays(methods_));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(model_,
                                   LoadScriptModel(golden().model_path));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const PerSampleFunction loss,
                                   LossByName(golden().loss));
    train_ = GoldenTrainBatch(golden(), arrays_);
    test_ = GoldenTestBatch(golden(), arrays_);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        provider_, CapturingGradientProvider::Create(model_, loss, train_));
  }

  const GoldenCase& golden() const { return methods_.golden; }

  absl::StatusOr<std::unique_ptr<ComposableInfluence>> Fit(
      const InfluenceMethod& method) const {
    // An uneven last batch, wherever there are more than two samples; LiSSA
    // has its fixed point with one batch only.
    const int64_t batch_size =
        method.method == "lissa" ? train_.size() : (train_.size() + 2) / 2;
    INFLUENCE_ASSIGN_OR_RETURN(auto data,
                               TensorBatchSequence::Create(train_, batch_size));
    INFLUENCE_ASSIGN_OR_RETURN(std::unique_ptr<ComposableInfluence> influence,
                               CreateInfluence(method, provider_));
    INFLUENCE_RETURN_IF_ERROR(influence->Fit(
        std::make_shared<const TensorBatchSequence>(std::move(data))));
    return influence;
  }

  void ExpectResult(const GoldenResult& result) const {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence, Fit(MethodOf(result)));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                   influence->Influences(test_, train_));
    EXPECT_THAT(scores, TensorNear(results_.at(result.array), kTolerance));
    for (const auto& [input, array] : result.perturbations) {
      SCOPED_TRACE(array);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          scores, influence->Influences(test_, train_,
                                        InfluenceMode::kPerturbation, input));
      EXPECT_THAT(scores, TensorNear(results_.at(array), kTolerance));
    }
  }

  // All results of the case of these methods.
  void ExpectResultsOf(const std::vector<std::string>& names) const {
    for (const GoldenResult& result : methods_.results) {
      if (std::count(names.begin(), names.end(), result.method) == 0) continue;
      SCOPED_TRACE(result.array);
      ExpectResult(result);
    }
  }

  // Scores of `method` for each structure and each of `curvatures` against
  // those of dense solves, for the cases with results of such methods.
  void ExpectDenseSolves(InfluenceMethod method,
                         const std::vector<Curvature>& curvatures,
                         double tolerance) const {
    if (!std::any_of(
            methods_.results.begin(), methods_.results.end(),
            [](const GoldenResult& r) { return !r.curvature.empty(); })) {
      return;
    }
    method.regularization = *Regularization::Constant(golden().regularization);
    for (const BlockStructure structure : kStructures) {
      for (const Curvature curvature : curvatures) {
        method.structure = structure;
        method.curvature = curvature;
        SCOPED_TRACE(method.Name());
        const auto expected =
            arrays_.find(absl::StrCat("scores_", BlockStructureName(structure),
                                      "_", CurvatureName(curvature)));
        ASSERT_NE(expected, arrays_.end());
        INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence, Fit(method));
        INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                       influence->Influences(test_, train_));
        EXPECT_THAT(scores, TensorNear(expected->second, tolerance));
      }
    }
  }

  GoldenMethods methods_;
  GoldenArrays arrays_;
  GoldenArrays results_;
  std::shared_ptr<const Model> model_;
  std::shared_ptr<const GradientProvider> provider_;
  Batch train_;
  Batch test_;
};

TEST_P(GoldenMethodsTest, KroneckerFactored) {
  ExpectResultsOf({"kfac", "ekfac"});
}

TEST_P(GoldenMethodsTest, InverseHarmonicMean) { ExpectResultsOf({"ihm"}); }

TEST_P(GoldenMethodsTest, LissaAtItsFixedPoint) { ExpectResultsOf({"lissa"}); }

TEST_P(GoldenMethodsTest, ArnoldiOfLowRank) { ExpectResultsOf({"arnoldi"}); }

TEST_P(GoldenMethodsTest, FullRankEqualsTheDenseSolve) {
  InfluenceMethod method;
  method.method = "arnoldi";
  ExpectDenseSolves(method, {std::begin(kCurvatures), std::end(kCurvatures)},
                    kFullRankTolerance);
  method.method = "nystroem";
  ExpectDenseSolves(
      method, {Curvature::kGaussNewton, Curvature::kGeneralizedGaussNewton},
      kFullRankTolerance);
}

// The sketch of a matrix of that rank is the matrix.
TEST_P(GoldenMethodsTest, NystroemOfTheRankOfTheMatrixEqualsTheDenseSolve) {
  InfluenceMethod method;
  method.method = "nystroem";
  method.rank = std::min(golden().num_train, golden().num_parameters);
  ExpectDenseSolves(method, {Curvature::kGaussNewton}, kTolerance);
}

TEST_P(GoldenMethodsTest, ConjugateGradientsEqualTheDenseSolve) {
  InfluenceMethod method;
  method.method = "cg";
  const std::vector<Curvature> all(std::begin(kCurvatures),
                                   std::end(kCurvatures));
  ExpectDenseSolves(method, all, kTolerance);
  // Without the dense matrix, and with a preconditioner.
  method.forms_curvature = false;
  method.preconditioner = "jacobi";
  ExpectDenseSolves(method, all, kTolerance);
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenMethodsTest,
                         testing::ValuesIn(AllNames()),
                         [](const testing::TestParamInfo<std::string>& test) {
                           return test.param;
                         });

// So that an empty or thinned-out set of results cannot pass for a tested one.
TEST(GoldenMethodsCoverageTest, EveryKindOfResultIsThere) {
  std::map<std::string, int> counts;
  for (const GoldenMethods& methods : AllMethods()) {
    for (const GoldenResult& result : methods.results) {
      ++counts[absl::StrCat(result.method, " ", result.fisher, " ",
                            result.uncovered)];
      ++counts[absl::StrCat(result.method, " ", result.structure, " ",
                            result.curvature, " ", result.low_rank_inverse)];
      if (!result.regularization.has_value()) ++counts[result.method + " auto"];
      if (!result.perturbations.empty()) ++counts[result.method + " moved"];
    }
  }
  for (const std::string method : {"kfac", "ekfac"}) {
    for (const std::string fisher : {"empirical", "exact", "sampled"}) {
      EXPECT_GE(counts[absl::StrCat(method, " ", fisher, " diagonal")], 20);
      EXPECT_GE(counts[absl::StrCat(method, " ", fisher, " drop")], 4);
    }
    EXPECT_GE(counts[method + " auto"], 20);
  }
  for (const BlockStructure structure : kStructures) {
    const std::string blocks(BlockStructureName(structure));
    EXPECT_GE(counts[absl::StrCat("ihm ", blocks, "  ")], 10);
    for (const Curvature curvature : kCurvatures) {
      const std::string of =
          absl::StrCat(blocks, " ", CurvatureName(curvature));
      EXPECT_GE(counts[absl::StrCat("lissa ", of, " ")], 10) << of;
      EXPECT_GE(counts[absl::StrCat("arnoldi ", of, " exact")], 10) << of;
      EXPECT_GE(counts[absl::StrCat("arnoldi ", of, " projected")], 10) << of;
    }
  }
  for (const std::string method : {"kfac", "ekfac", "ihm", "arnoldi"}) {
    EXPECT_GE(counts[method + " moved"], 10) << method;
  }
}

}  // namespace
}  // namespace influence
