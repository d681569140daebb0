// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The mean over a data set of the inverses of its damped rank-one terms, for a
// block of parameters,
//   mean_n (g_n g_n^T + lambda I)^-1
//     = (I - (1/N) sum_n g_n g_n^T / (lambda + |g_n|^2)) / lambda,
// each by the formula of Sherman and Morrison.
#ifndef INFLUENCE_OPERATORS_INVERSE_HARMONIC_MEAN_OPERATOR_H_
#define INFLUENCE_OPERATORS_INVERSE_HARMONIC_MEAN_OPERATOR_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/factored_gradients.h"
#include "operators/bilinear_form.h"
#include "operators/kept_gradients.h"
#include "operators/operator.h"

namespace influence {

// The same as an average of InverseHarmonicMeanBatchOperation over the data,
// but blocks share one gradient pass, and scores may do without the [M, P] of
// the transformed queries: with the gradients G kept, queries Q and samples T,
//   Q A^-1 T^T = (Q T^T - (Q G^T) diag(1 / (N (lambda + |g|^2))) (G T^T))
//                / lambda,
// three Gram matrices from factors. That way is taken where it costs less than
// the 2 M P operations a sample of the transformed queries, and needs [M, N].
// No way holds [N, P]. Sums over batches are in float64.
//
// Immutable and thread-safe.
class InverseHarmonicMeanOperator : public Operator {
 public:
  // The block is the parameters `positions` among those of the gradients.
  // kInvalidArgument if `gradients` is null, a position is out of range or
  // there is none, or `regularization` (lambda) is not finite and > 0.
  static absl::StatusOr<std::shared_ptr<const InverseHarmonicMeanOperator>>
  Create(std::shared_ptr<const KeptGradients> gradients,
         std::vector<int64_t> positions, double regularization);

  // The same gradients with another lambda.
  absl::StatusOr<std::shared_ptr<const InverseHarmonicMeanOperator>>
  WithRegularization(double regularization) const;

  int64_t input_size() const override { return size_; }

  double regularization() const { return regularization_; }

  std::unique_ptr<const BilinearForm> AsBilinearForm() const override;

 protected:
  // Operands have the model's dtype. One pass over the gradients, 4 N K P
  // operations.
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override;

 private:
  friend class InverseHarmonicMeanForms;

  InverseHarmonicMeanOperator(std::shared_ptr<const KeptGradients> gradients,
                              std::vector<int64_t> positions,
                              double regularization);

  // The gradients of one batch in the block.
  absl::StatusOr<FactoredGradients> BlockGradients(int64_t batch) const;

  // products [n, K] of a batch's gradients divided by N (lambda + |g_n|^2) and
  // transposed: [K, n].
  absl::StatusOr<at::Tensor> Weights(const FactoredGradients& batch,
                                     const at::Tensor& products) const;

  std::shared_ptr<const KeptGradients> gradients_;
  std::vector<int64_t> positions_;
  double regularization_;
  int64_t size_ = 0;
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_INVERSE_HARMONIC_MEAN_OPERATOR_H_
