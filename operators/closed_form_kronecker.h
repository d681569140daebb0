// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// KFAC and EKFAC of a generalized linear model, which is one layer, in closed
// form: with x~ = (x, 1) and r = dl/do,
//   S_A = mean_n x~ x~^T = U_A diag(s_A) U_A^T,
//   S_G = mean_n r r^T   = U_G diag(s_G) U_G^T,
//   Lambda = s_G s_A^T (KFAC), mean_n (U_G^T r)^2 ((U_A^T x~)^2)^T (EKFAC),
// r by the labels of the data (empirical Fisher), or r r^T in expectation over
// the model's own probabilities (exact): diag(p) - p p^T for cross_entropy and
// diag(p (1 - p)) / K^2 for binary_cross_entropy_with_logits.
#ifndef INFLUENCE_OPERATORS_CLOSED_FORM_KRONECKER_H_
#define INFLUENCE_OPERATORS_CLOSED_FORM_KRONECKER_H_

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/batch_sequence.h"
#include "gradients/generalized_linear_model.h"
#include "operators/fisher_gradients.h"
#include "operators/kronecker_fit.h"

namespace influence {

// All float64; I = D + 1, or D without intercept.
struct ClosedFormKronecker {
  at::Tensor input_eigenvectors;     // U_A [I, I], in the columns.
  at::Tensor gradient_eigenvectors;  // U_G [K, K], in the columns.
  at::Tensor eigenvalues;            // Lambda [K, I], >= 0.
};

// Two passes over the data for EKFAC, one for KFAC. kInvalidArgument for the
// sampled Fisher, for the exact one of mse, and on an empty data set.
absl::StatusOr<ClosedFormKronecker> FitClosedFormKronecker(
    const GeneralizedLinearModel& model, const BatchSequence& data,
    KroneckerMethod method, Fisher fisher);

// U_G [(U_G^T V U_A) / (Lambda + lambda)] U_A^T for each row of b [Q, P],
// float64. kInvalidArgument, naming the regularization, if an entry of Lambda +
// lambda is at most I K epsilon times the largest.
absl::StatusOr<at::Tensor> SolveClosedFormKronecker(
    const GeneralizedLinearModel& model, const ClosedFormKronecker& curvature,
    double regularization, const at::Tensor& b);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_CLOSED_FORM_KRONECKER_H_
