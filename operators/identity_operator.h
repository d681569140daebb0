// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The identity: its influence is the dot product of gradients.
#ifndef INFLUENCE_OPERATORS_IDENTITY_OPERATOR_H_
#define INFLUENCE_OPERATORS_IDENTITY_OPERATOR_H_

#include <cstdint>
#include <memory>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "operators/bilinear_form.h"
#include "operators/operator.h"

namespace influence {

class IdentityOperator : public Operator {
 public:
  explicit IdentityOperator(int64_t input_size) : input_size_(input_size) {}

  int64_t input_size() const override { return input_size_; }

  // The Euclidean inner product. On gradients it is their Gram matrix, taken
  // from the factors of both sides: neither is ever written out. Does not
  // borrow this operator.
  std::unique_ptr<const BilinearForm> AsBilinearForm() const override;

 protected:
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override;

 private:
  int64_t input_size_;
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_IDENTITY_OPERATOR_H_
