// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// An operator plus a multiple of the identity: A v = C v + lambda v.
#ifndef INFLUENCE_OPERATORS_SHIFTED_OPERATOR_H_
#define INFLUENCE_OPERATORS_SHIFTED_OPERATOR_H_

#include <cstdint>
#include <memory>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "operators/operator.h"

namespace influence {

// Immutable; as thread-safe as C. Costs what C costs.
class ShiftedOperator : public Operator {
 public:
  // kInvalidArgument if `c` is null or the shift (lambda, any sign) is not
  // finite.
  static absl::StatusOr<std::shared_ptr<const ShiftedOperator>> Create(
      std::shared_ptr<const Operator> c, double shift);

  int64_t input_size() const override { return c_->input_size(); }

  double shift() const { return shift_; }

 protected:
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override;

 private:
  ShiftedOperator(std::shared_ptr<const Operator> c, double shift);

  std::shared_ptr<const Operator> c_;
  double shift_;
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_SHIFTED_OPERATOR_H_
