// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A dense symmetric matrix plus a multiple of the identity as an operator:
//   A v = C v + lambda v.
#ifndef INFLUENCE_OPERATORS_DENSE_OPERATOR_H_
#define INFLUENCE_OPERATORS_DENSE_OPERATOR_H_

#include <cstdint>
#include <memory>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "operators/operator.h"

namespace influence {

// Immutable and thread-safe. Products are taken in the dtype of C and answered
// in that of the operand.
class DenseOperator : public Operator {
 public:
  // c: floating [P, P], P >= 1, symmetric (the caller's promise), shared and
  // not changed. kInvalidArgument on another shape or dtype, an entry that is
  // not finite, or a regularization (lambda, any sign) that is not.
  static absl::StatusOr<std::shared_ptr<const DenseOperator>> Create(
      at::Tensor c, double regularization = 0);

  int64_t input_size() const override { return c_.size(0); }

  const at::Tensor& c() const { return c_; }
  double regularization() const { return regularization_; }

 protected:
  // 2 K P^2 operations.
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override;

 private:
  DenseOperator(at::Tensor c, double regularization);

  at::Tensor c_;
  double regularization_;
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_DENSE_OPERATOR_H_
