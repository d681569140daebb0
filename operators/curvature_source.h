// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The curvature C of a model's mean loss over a data set in the forms that
// inversion methods ask for, whatever the kind of the model.
#ifndef INFLUENCE_OPERATORS_CURVATURE_SOURCE_H_
#define INFLUENCE_OPERATORS_CURVATURE_SOURCE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/batch_sequence.h"
#include "gradients/generalized_linear_model.h"
#include "gradients/gradient_provider.h"
#include "operators/curvature.h"
#include "operators/operator.h"

namespace influence {

// Immutable and thread-safe. Data is never null.
class CurvatureSource {
 public:
  virtual ~CurvatureSource() = default;

  virtual int64_t num_parameters() const = 0;  // P

  // What derivatives are computed in.
  virtual at::ScalarType dtype() const = 0;

  // Its rounding unit: how exact C is, relative to its norm.
  double relative_accuracy() const;

  // Products with C + lambda I, the mean over the samples of `data`, which is
  // read at every product. lambda: finite.
  virtual absl::StatusOr<std::shared_ptr<const Operator>> Products(
      Curvature curvature, std::shared_ptr<const BatchSequence> data,
      double regularization) const = 0;

  // C, float64 [P, P].
  virtual absl::StatusOr<at::Tensor> Dense(Curvature curvature,
                                           const BatchSequence& data) const = 0;

  // The diagonal of the Gauss-Newton matrix, float64 [P].
  virtual absl::StatusOr<at::Tensor> GaussNewtonDiagonal(
      const BatchSequence& data) const = 0;

  // Products with mean_n (g_n g_n^T + lambda I)^-1. kInvalidArgument unless
  // lambda > 0.
  virtual absl::StatusOr<std::shared_ptr<const Operator>> InverseHarmonicMean(
      std::shared_ptr<const BatchSequence> data,
      double regularization) const = 0;
};

// By autograd, for the parameters of the provider's selection. `provider` is
// not null.
std::unique_ptr<const CurvatureSource> CreateCurvatureSource(
    std::shared_ptr<const GradientProvider> provider);

// In closed form. `model` is not null.
std::unique_ptr<const CurvatureSource> CreateCurvatureSource(
    std::shared_ptr<const GeneralizedLinearModel> model);

// A batch of a sequence as a sequence of its own, and its number of samples.
struct SingleBatch {
  std::shared_ptr<const BatchSequence> data;
  int64_t num_samples;
};

// Every batch of `data` (not null) in turn. Each is read once to learn its
// size; the sequences share `data` and keep no batch.
absl::StatusOr<std::vector<SingleBatch>> SingleBatches(
    const std::shared_ptr<const BatchSequence>& data);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_CURVATURE_SOURCE_H_
