// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What each method is defined to be: one dense float64 matrix, formed from
// whole gradients of single samples and dense inverses, by other code than the
// library's.
#ifndef INFLUENCE_TESTS_SUPPORT_METHOD_DEFINITION_H_
#define INFLUENCE_TESTS_SUPPORT_METHOD_DEFINITION_H_

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "gradients/batch.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "operators/curvature.h"
#include "tests/support/influence_method.h"

namespace influence {

// A classifier with layers and a parameter outside of them, P = 35:
//   a = tanh(fc1 x), logits = fc2 (norm.scale * a),
// with fc1 [4, 3] and fc2 [3, 4] that have a bias.
class ClassifierProblem {
 public:
  // The same numbers, rounded, in both dtypes.
  explicit ClassifierProblem(at::ScalarType dtype);

  const std::shared_ptr<const Model>& model() const { return model_; }
  const Batch& train() const { return train_; }  // 9 samples.
  const Batch& test() const { return test_; }    // 4 samples.

  // Of cross entropy, by plain autograd.
  const GradientProvider& reference() const { return *reference_; }

  // C [P, P] of the training samples; computed once. Float64 only.
  const at::Tensor& DenseCurvature(Curvature curvature) const;

  // The inputs of fc1 and fc2 with an appended 1, [N, 4] and [N, 5].
  std::vector<at::Tensor> LayerInputs() const;

  // softmax(logits) of the training samples, [N, 3].
  at::Tensor Probabilities() const;

 private:
  std::vector<at::Tensor> parameters_;
  std::shared_ptr<const Model> model_;
  std::shared_ptr<const GradientProvider> reference_;
  Batch train_;
  Batch test_;
  mutable std::map<Curvature, at::Tensor> curvatures_;
};

// The action of `method` on the whole of R^P, zero between blocks. lambda is
// `regularization`, the same for all blocks. Ends the process where the
// definition is not unique (a rank that parts equal eigenvalues).
at::Tensor DenseDefinition(const InfluenceMethod& method,
                           const ClassifierProblem& problem,
                           double regularization);

}  // namespace influence

#endif  // INFLUENCE_TESTS_SUPPORT_METHOD_DEFINITION_H_
