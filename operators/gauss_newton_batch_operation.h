// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Products with the Gauss-Newton matrix of a batch,
//   m(b) = (1/N) sum_n g_n g_n^T,  g_n = grad l(theta; z_n),
// also called the empirical Fisher. Positive semidefinite, rank at most N.
#ifndef INFLUENCE_OPERATORS_GAUSS_NEWTON_BATCH_OPERATION_H_
#define INFLUENCE_OPERATORS_GAUSS_NEWTON_BATCH_OPERATION_H_

#include <memory>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/batch.h"
#include "gradients/gradient_provider.h"
#include "operators/batch_operation.h"

namespace influence {

// One FactoredGrads() of the batch, then two products with the factors for all
// right-hand sides at once; never builds [N, P].
class GaussNewtonBatchOperation : public BatchOperation {
 public:
  explicit GaussNewtonBatchOperation(
      std::shared_ptr<const GradientProvider> provider);

 protected:
  absl::StatusOr<at::Tensor> DoApply(const Batch& batch,
                                     const at::Tensor& matrix) const override;
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_GAUSS_NEWTON_BATCH_OPERATION_H_
