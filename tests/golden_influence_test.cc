// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Curvatures, products with them, and identity and direct influence against the
// golden cases: dense float64 matrices and solves that PyTorch computed in
// Python.
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
#include "ATen/ops/eye.h"
#include "ATen/ops/linalg_solve.h"
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
#include "gradients/tensor_map.h"
#include "gtest/gtest.h"
#include "influence/direct_influence.h"
#include "influence/identity_influence.h"
#include "influence/influence_mode.h"
#include "influence/prepared_queries.h"
#include "influence/regularization.h"
#include "operators/batch_averaging_operator.h"
#include "operators/curvature.h"
#include "operators/dense_curvature.h"
#include "tests/support/golden_case.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

// The project's promise for direct scores; the systems of the golden cases are
// well conditioned, and the differences found are around 1e-14.
constexpr double kTolerance = 1e-8;

constexpr BlockStructure kStructures[] = {
    BlockStructure::kFull, BlockStructure::kLayer, BlockStructure::kParameter};
constexpr Curvature kCurvatures[] = {Curvature::kHessian,
                                     Curvature::kGaussNewton,
                                     Curvature::kGeneralizedGaussNewton};

const std::vector<GoldenCase>& AllCases() {
  static const auto* cases = [] {
    absl::StatusOr<std::vector<GoldenCase>> loaded = LoadGoldenCases();
    INFLUENCE_CHECK(loaded.ok());
    return new std::vector<GoldenCase>(*std::move(loaded));
  }();
  return *cases;
}

std::vector<std::string> AllNames() {
  std::vector<std::string> names;
  for (const GoldenCase& golden : AllCases()) names.push_back(golden.name);
  return names;
}

class GoldenInfluenceTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const auto found = std::find_if(
        AllCases().begin(), AllCases().end(),
        [](const GoldenCase& golden) { return golden.name == GetParam(); });
    ASSERT_NE(found, AllCases().end());
    golden_ = *found;
    if (!golden_.RunsHere()) {
      GTEST_SKIP() << "needs LibTorch " << golden_.min_torch;
    }
    // Threads share the columns of whole models; for the others they would only
    // wait for each other.
    at::set_num_threads(golden_.whole_model ? 2 : 1);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(arrays_, LoadGoldenArrays(golden_));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(model_, LoadScriptModel(golden_.model_path));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const PerSampleFunction loss,
                                   LossByName(golden_.loss));
    train_ = GoldenTrainBatch(golden_, arrays_);
    test_ = GoldenTestBatch(golden_, arrays_);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        provider_, CapturingGradientProvider::Create(model_, loss, train_));
    // An uneven last batch, wherever there are more than two samples.
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        auto data,
        TensorBatchSequence::Create(train_, (train_.size() + 2) / 2));
    data_ = std::make_shared<const TensorBatchSequence>(std::move(data));
  }

  // The array of that name, or null where the case has none.
  const at::Tensor* Array(const std::string& name) const {
    const auto found = arrays_.find(name);
    return found == arrays_.end() ? nullptr : &found->second;
  }

  // "scores_layer_hessian".
  static std::string Name(const std::string& kind, BlockStructure structure,
                          Curvature curvature) {
    return absl::StrCat(kind, "_", BlockStructureName(structure), "_",
                        CurvatureName(curvature));
  }

  absl::StatusOr<std::unique_ptr<DirectInfluence>> FitDirect(
      BlockStructure structure, Curvature curvature,
      const Regularization& regularization) const {
    DirectInfluenceOptions options;
    options.curvature = curvature;
    options.regularization = regularization;
    INFLUENCE_ASSIGN_OR_RETURN(
        std::unique_ptr<DirectInfluence> direct,
        DirectInfluence::Create(
            provider_, ParameterBlocks::Create(*model_, structure), options));
    INFLUENCE_RETURN_IF_ERROR(direct->Fit(data_));
    return direct;
  }

  // Scores of mode kPerturbation for every floating input, against the arrays
  // that there are.
  void ExpectPerturbations(const DirectInfluence& direct,
                           BlockStructure structure,
                           Curvature curvature) const {
    for (size_t i = 0; i < train_.x.size(); ++i) {
      const std::string kind = train_.x.size() == 1
                                   ? "perturbation"
                                   : absl::StrCat("perturbation", i);
      const at::Tensor* expected = Array(Name(kind, structure, curvature));
      if (expected == nullptr) continue;
      SCOPED_TRACE(kind);
      const auto input = static_cast<int64_t>(i);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          at::Tensor scores,
          direct.Influences(test_, train_, InfluenceMode::kPerturbation,
                            input));
      EXPECT_THAT(scores, TensorNear(*expected, kTolerance));
      if (!golden_.whole_model) continue;
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          TensorMap by_block,
          direct.InfluencesByBlock(test_, train_, InfluenceMode::kPerturbation,
                                   input));
      at::Tensor sum;
      for (const auto& [name, block] : by_block) {
        sum = sum.defined() ? sum.add(block) : block;
      }
      EXPECT_THAT(sum, TensorNear(*expected, kTolerance));
    }
  }

  GoldenCase golden_;
  GoldenArrays arrays_;
  std::shared_ptr<const Model> model_;
  std::shared_ptr<const GradientProvider> provider_;
  std::shared_ptr<const BatchSequence> data_;
  Batch train_;
  Batch test_;
};

TEST_P(GoldenInfluenceTest, IdentityScores) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto identity,
      IdentityInfluence::Create(
          provider_, ParameterBlocks::Create(*model_, BlockStructure::kLayer)));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                 identity->Influences(test_, train_));
  EXPECT_THAT(scores, TensorNear(arrays_.at("identity_scores"), 1e-10));
}

TEST_P(GoldenInfluenceTest, CurvaturesAndTheirProducts) {
  const auto full = ParameterBlocks::Create(*model_, BlockStructure::kFull);
  for (const Curvature curvature : kCurvatures) {
    const at::Tensor* expected = Array(std::string(CurvatureName(curvature)));
    if (expected == nullptr) continue;
    SCOPED_TRACE(CurvatureName(curvature));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        std::vector<at::Tensor> formed,
        FormDenseCurvature(curvature, *provider_, full, *data_));
    EXPECT_THAT(formed[0], TensorNear(*expected, kTolerance));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        auto op, BatchAveragingOperator::Create(
                     CreateCurvatureOperation(curvature, provider_), data_));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        at::Tensor products, op->Apply(at::eye(op->input_size(), at::kDouble)));
    for (int64_t column = 0; column < op->input_size(); ++column) {
      EXPECT_THAT(products[column],
                  TensorNearAtScale(expected->select(1, column), kTolerance,
                                    expected->abs().max().item<double>()))
          << "column " << column;
    }
  }
}

TEST_P(GoldenInfluenceTest, DirectScores) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const Regularization regularization,
      Regularization::Constant(golden_.regularization));
  for (const BlockStructure structure : kStructures) {
    for (const Curvature curvature : kCurvatures) {
      const at::Tensor* expected = Array(Name("scores", structure, curvature));
      if (expected == nullptr) continue;
      SCOPED_TRACE(Name("scores", structure, curvature));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          auto direct, FitDirect(structure, curvature, regularization));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                     direct->Influences(test_, train_));
      EXPECT_THAT(scores, TensorNear(*expected, kTolerance));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor factors,
                                     direct->InfluenceFactors(test_));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          scores, direct->InfluencesFromFactors(factors, train_));
      EXPECT_THAT(scores, TensorNear(*expected, kTolerance));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(auto prepared,
                                     direct->PrepareQueries(test_));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(scores, prepared->Influences(train_));
      EXPECT_THAT(scores, TensorNear(*expected, kTolerance));
      ExpectPerturbations(*direct, structure, curvature);
    }
  }
}

TEST_P(GoldenInfluenceTest, DirectScoresByBlock) {
  for (const BlockStructure structure : kStructures) {
    for (const Curvature curvature : kCurvatures) {
      const at::Tensor* expected =
          Array(Name("block_scores", structure, curvature));
      if (expected == nullptr) continue;
      SCOPED_TRACE(Name("block_scores", structure, curvature));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const Regularization regularization,
          Regularization::Constant(golden_.regularization));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          auto direct, FitDirect(structure, curvature, regularization));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(TensorMap by_block,
                                     direct->InfluencesByBlock(test_, train_));
      ASSERT_EQ(static_cast<int64_t>(by_block.size()), expected->size(0));
      const double scale = expected->abs().max().item<double>();
      const std::vector<GoldenBlock>& blocks =
          golden_.blocks.at(std::string(BlockStructureName(structure)));
      int64_t b = 0;
      for (const auto& [name, scores] : by_block) {
        EXPECT_EQ(name, blocks[b].name);
        EXPECT_THAT(scores,
                    TensorNearAtScale((*expected)[b], kTolerance, scale))
            << "block " << name;
        ++b;
      }
    }
  }
}

TEST_P(GoldenInfluenceTest, DirectScoresWithARegularizationByBlock) {
  for (const BlockStructure structure : kStructures) {
    const at::Tensor* values = Array(
        absl::StrCat("block_regularization_", BlockStructureName(structure)));
    if (values == nullptr) continue;
    std::vector<Regularization::BlockValue> by_name;
    const std::vector<GoldenBlock>& blocks =
        golden_.blocks.at(std::string(BlockStructureName(structure)));
    for (size_t b = 0; b < blocks.size(); ++b) {
      by_name.emplace_back(blocks[b].name,
                           (*values)[static_cast<int64_t>(b)].item<double>());
    }
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const Regularization regularization,
                                   Regularization::ByBlock(by_name));
    for (const Curvature curvature : kCurvatures) {
      const std::string name =
          Name("block_regularization_scores", structure, curvature);
      const at::Tensor* expected = Array(name);
      ASSERT_NE(expected, nullptr) << name;
      SCOPED_TRACE(name);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          auto direct, FitDirect(structure, curvature, regularization));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scores,
                                     direct->Influences(test_, train_));
      EXPECT_THAT(scores, TensorNear(*expected, kTolerance));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenInfluenceTest,
                         testing::ValuesIn(AllNames()),
                         [](const testing::TestParamInfo<std::string>& test) {
                           return test.param;
                         });

// So that an empty or thinned-out set of cases cannot pass for a tested one.
TEST(GoldenInfluenceCoverageTest, EveryKindOfArrayIsThere) {
  std::map<std::string, int> counts;
  for (const GoldenCase& golden : AllCases()) {
    for (const std::string& name : golden.arrays) ++counts[name];
  }
  for (const Curvature curvature : kCurvatures) {
    EXPECT_GE(counts[std::string(CurvatureName(curvature))], 5)
        << CurvatureName(curvature);
    for (const BlockStructure structure : kStructures) {
      const std::string suffix = absl::StrCat(
          "_", BlockStructureName(structure), "_", CurvatureName(curvature));
      EXPECT_GE(counts["scores" + suffix], 20) << suffix;
      EXPECT_GE(counts["perturbation" + suffix], 5) << suffix;
      if (structure == BlockStructure::kFull) continue;
      EXPECT_GE(counts["block_scores" + suffix], 5) << suffix;
      EXPECT_GE(counts["block_regularization_scores" + suffix], 5) << suffix;
    }
  }
  EXPECT_GE(counts["perturbation0_full_hessian"], 1);
  EXPECT_GE(counts["margin_grads"], 1);
  EXPECT_GE(counts["logit_grads"], 1);
}

}  // namespace
}  // namespace influence
