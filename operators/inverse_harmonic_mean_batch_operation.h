// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Products with the mean of the inverses of the damped rank-one terms of the
// Gauss-Newton matrix,
//   m(b) = (1/N) sum_n (g_n g_n^T + lambda I)^-1,
// each inverted by the formula of Sherman and Morrison:
//   m(b) v = (v - (1/N) sum_n g_n (g_n^T v) / (lambda + |g_n|^2)) / lambda.
#ifndef INFLUENCE_OPERATORS_INVERSE_HARMONIC_MEAN_BATCH_OPERATION_H_
#define INFLUENCE_OPERATORS_INVERSE_HARMONIC_MEAN_BATCH_OPERATION_H_

#include <memory>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/batch.h"
#include "gradients/gradient_provider.h"
#include "operators/batch_operation.h"

namespace influence {

// Cost as GaussNewtonBatchOperation; never builds [N, P].
class InverseHarmonicMeanBatchOperation : public BatchOperation {
 public:
  // kInvalidArgument unless `regularization` (lambda) is finite and > 0.
  static absl::StatusOr<
      std::shared_ptr<const InverseHarmonicMeanBatchOperation>>
  Create(std::shared_ptr<const GradientProvider> provider,
         double regularization);

  double regularization() const { return regularization_; }

 protected:
  absl::StatusOr<at::Tensor> DoApply(const Batch& batch,
                                     const at::Tensor& matrix) const override;

 private:
  InverseHarmonicMeanBatchOperation(
      std::shared_ptr<const GradientProvider> provider, double regularization);

  double regularization_;
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_INVERSE_HARMONIC_MEAN_BATCH_OPERATION_H_
