// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A preconditioner for C + lambda I from a low-rank approximation U diag(D) U^T
// of a positive semidefinite C with k eigenpairs (Frangella, Tropp and Udell
// 2021, section 5):
//   M^-1 = (D_k + lambda) U diag(1 / (D + lambda)) U^T + (I - U U^T),
// D_k the smallest of the D: the large eigenvalues are brought down to the
// level where the approximation ends.
#ifndef INFLUENCE_OPERATORS_NYSTROEM_PRECONDITIONER_H_
#define INFLUENCE_OPERATORS_NYSTROEM_PRECONDITIONER_H_

#include <cstdint>
#include <memory>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "operators/low_rank.h"
#include "operators/operator.h"

namespace influence {

// Immutable and thread-safe. Memory: U, shared.
class NystroemPreconditioner : public Operator {
 public:
  // kInvalidArgument if U and D fail ValidateLowRank(), there is no eigenpair,
  // a D is negative, or lambda is negative or not finite; naming the
  // regularization, if D_k + lambda is 0.
  static absl::StatusOr<std::shared_ptr<const NystroemPreconditioner>> Create(
      LowRank low_rank, double regularization);

  int64_t input_size() const override { return low_rank_.num_parameters(); }

 protected:
  // 4 K k P operations, in the dtype of U.
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override;

 private:
  NystroemPreconditioner(LowRank low_rank, at::Tensor weights);

  LowRank low_rank_;
  at::Tensor weights_;  // (D_k + lambda) / (D + lambda) - 1, in U's dtype.
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_NYSTROEM_PRECONDITIONER_H_
