// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A linear operator on R^P, such as an inverse curvature, reached through its
// action only. A new one states its size and its action:
//
//   class Twice : public Operator {
//    public:
//     int64_t input_size() const override { return 10; }
//
//    protected:
//     absl::StatusOr<at::Tensor> DoApply(const at::Tensor& m) const override {
//       return m * 2;
//     }
//   };
#ifndef INFLUENCE_OPERATORS_OPERATOR_H_
#define INFLUENCE_OPERATORS_OPERATOR_H_

#include <cstdint>
#include <memory>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "operators/bilinear_form.h"

namespace influence {

// Immutable. Thread-safe unless the implementation says otherwise.
class Operator {
 public:
  virtual ~Operator() = default;

  virtual int64_t input_size() const = 0;  // P

  // vector [P], or rows of right-hand sides [K, P] -> the same shape and dtype;
  // the argument is not changed. kInvalidArgument on another shape, with both
  // sizes, and on a dtype that is not floating; an exception of LibTorch as
  // CatchTorch() turns it into a Status.
  absl::StatusOr<at::Tensor> Apply(const at::Tensor& tensor) const;

  // <x, y> = Op(x)^T y. The form borrows this operator, which must outlive it.
  virtual std::unique_ptr<const BilinearForm> AsBilinearForm() const;

 protected:
  // matrix [K, P], K >= 0, floating -> [K, P]. May throw.
  virtual absl::StatusOr<at::Tensor> DoApply(
      const at::Tensor& matrix) const = 0;
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_OPERATOR_H_
