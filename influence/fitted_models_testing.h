// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A small fitted model of every method, for tests of what all of them share.
#ifndef INFLUENCE_INFLUENCE_FITTED_MODELS_TESTING_H_
#define INFLUENCE_INFLUENCE_FITTED_MODELS_TESTING_H_

#include <cstdint>
#include <memory>
#include <string>

#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "influence/composable_influence.h"

namespace influence {

// 9 training samples and 4 queries of a classifier with 26 parameters.
struct FittedProblem {
  std::shared_ptr<const Model> model;
  std::shared_ptr<const GradientProvider> provider;
  Batch train_batch;
  std::shared_ptr<const BatchSequence> train;  // In batches of 4.
  Batch test;
};

// In float64. Another seed makes another model, and other data.
FittedProblem MakeFittedProblem(uint64_t seed = 1);

// A model of the method, by layers, fitted to the problem with the automatic
// regularization where the method has one. Null if the method is not known
// here.
std::unique_ptr<ComposableInfluence> FitMethod(const std::string& method,
                                               const FittedProblem& problem);

}  // namespace influence

#endif  // INFLUENCE_INFLUENCE_FITTED_MODELS_TESTING_H_
