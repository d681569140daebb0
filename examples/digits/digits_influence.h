// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What the library says about a network and its data: the influence of every
// training image on itself and on every held-out image, exact unless another
// method is asked for, next to the same with the curvature replaced by the
// identity.
#ifndef INFLUENCE_EXAMPLES_DIGITS_DIGITS_INFLUENCE_H_
#define INFLUENCE_EXAMPLES_DIGITS_DIGITS_INFLUENCE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "base/progress.h"
#include "examples/digits/digits_data.h"
#include "gradients/coverage_report.h"
#include "gradients/model.h"

namespace influence {

struct DigitsInfluenceOptions {
  std::string method = "direct";  // One of DigitsMethodNames().
  double regularization = 0.01;   // lambda > 0.
  int num_threads = 0;            // Of the fit; 0 means LibTorch's.
  int64_t batch_size = 256;       // >= 1; does not change the scores.
};

// N training and M held-out images, g_j the gradient of the loss of training
// image j, h_i that of held-out image i. All float64.
struct DigitsInfluence {
  at::Tensor scores;                   // [M, N]: h_i^T A^-1 g_j, of the method.
  at::Tensor self_influence;           // [N]: g_j^T A^-1 g_j.
  at::Tensor identity_scores;          // [M, N]: h_i^T g_j.
  at::Tensor identity_self_influence;  // [N]: |g_j|^2.
  at::Tensor train_probabilities;      // [N, 10]: the model's, by class.
  at::Tensor test_probabilities;       // [M, 10]
  at::Tensor train_losses;             // [N]: cross entropy with y as given.
  at::Tensor test_losses;              // [M]
  CoverageReport coverage;
  std::optional<double> smallest_eigenvalue;  // Of A, if A is indefinite.
  double fit_seconds;                         // Of the method.
  double self_seconds;                        // Both kinds of self-influence.
  double score_seconds;
  double identity_score_seconds;
};

// kInvalidArgument if an option is out of range or A is singular; errors of the
// library as they come. `progress` may be null.
absl::StatusOr<DigitsInfluence> ComputeDigitsInfluence(
    const std::shared_ptr<const Model>& model, const DigitImages& train,
    const DigitImages& test, const DigitsInfluenceOptions& options,
    ProgressReporter* progress = nullptr);

// softmax of the model's output, [N, 10], and the cross entropy with images.y.
struct DigitPredictions {
  at::Tensor probabilities;  // [N, 10]
  at::Tensor losses;         // [N]
};
absl::StatusOr<DigitPredictions> PredictDigits(const Model& model,
                                               const DigitImages& images);

// The share of rows of probabilities [N, 10] whose largest entry is at y [N].
double Accuracy(const at::Tensor& probabilities, const at::Tensor& y);

}  // namespace influence

#endif  // INFLUENCE_EXAMPLES_DIGITS_DIGITS_INFLUENCE_H_
