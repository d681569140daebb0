// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/fitted_models_testing.h"

#include <functional>
#include <map>

#include "ATen/core/Tensor.h"
#include "base/status_macros.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "influence/arnoldi_influence.h"
#include "influence/cg_influence.h"
#include "influence/curvature_products.h"
#include "influence/direct_influence.h"
#include "influence/identity_influence.h"
#include "influence/inverse_harmonic_mean_influence.h"
#include "influence/kronecker_influence.h"
#include "influence/lissa_influence.h"
#include "influence/low_rank_influence.h"
#include "influence/nystroem_influence.h"
#include "operators/kronecker_fit.h"
#include "operators/problem_testing.h"

namespace influence {

FittedProblem MakeFittedProblem(uint64_t seed) {
  FittedProblem problem;
  problem.model = TanhMlp({3, 4, 2}, at::kDouble, seed);
  problem.train_batch = SeededClassification(9, 3, 2, at::kDouble, seed + 1);
  problem.test = SeededClassification(4, 3, 2, at::kDouble, seed + 2);
  problem.provider = *CapturingGradientProvider::Create(
      problem.model, CrossEntropyLoss(), problem.train_batch);
  problem.train = std::make_shared<const TensorBatchSequence>(
      *TensorBatchSequence::Create(problem.train_batch, 4));
  return problem;
}

std::unique_ptr<ComposableInfluence> FitMethod(const std::string& method,
                                               const FittedProblem& problem) {
  using Maker = std::function<std::unique_ptr<ComposableInfluence>(
      const std::shared_ptr<const GradientProvider>&, const ParameterBlocks&)>;
  const std::map<std::string, Maker> makers = {
      {"arnoldi",
       [](const auto& provider, const auto& blocks) {
         LowRankInfluenceOptions options;
         options.rank = 4;
         return *ArnoldiInfluence::Create(provider, blocks, options);
       }},
      {"cg",
       [](const auto& provider, const auto& blocks) {
         // Solves with the data.
         CgInfluenceOptions options;
         options.products.kind = CurvatureProducts::kMatrixFree;
         return *CgInfluence::Create(provider, blocks, options);
       }},
      {"direct",
       [](const auto& provider, const auto& blocks) {
         return *DirectInfluence::Create(provider, blocks);
       }},
      {"ekfac",
       [](const auto& provider, const auto& /*blocks*/) {
         KroneckerInfluenceOptions options;
         options.method = KroneckerMethod::kEkfac;
         return *KroneckerInfluence::Create(provider, options);
       }},
      {"identity",
       [](const auto& provider, const auto& blocks) {
         return *IdentityInfluence::Create(provider, blocks);
       }},
      {"ihm",
       [](const auto& provider, const auto& blocks) {
         return *InverseHarmonicMeanInfluence::Create(provider, blocks);
       }},
      {"kfac",
       [](const auto& provider, const auto& /*blocks*/) {
         KroneckerInfluenceOptions options;
         options.method = KroneckerMethod::kKfac;
         return *KroneckerInfluence::Create(provider, options);
       }},
      {"lissa",
       [](const auto& provider, const auto& blocks) {
         // Solves with what it has formed.
         LissaInfluenceOptions options;
         options.products.kind = CurvatureProducts::kFormed;
         options.max_iterations = 30;
         return *LissaInfluence::Create(provider, blocks, options);
       }},
      {"nystroem",
       [](const auto& provider, const auto& blocks) {
         LowRankInfluenceOptions options;
         options.rank = 4;
         return *NystroemInfluence::Create(provider, blocks, options);
       }},
  };
  const auto maker = makers.find(method);
  if (maker == makers.end()) return nullptr;
  std::unique_ptr<ComposableInfluence> influence = maker->second(
      problem.provider,
      ParameterBlocks::Create(*problem.model, BlockStructure::kLayer));
  INFLUENCE_CHECK(influence->Fit(problem.train).ok());
  return influence;
}

}  // namespace influence
