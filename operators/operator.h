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
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "operators/bilinear_form.h"
#include "operators/solve_report.h"

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

  // The same. `reports` (not null) becomes how each right-hand side was solved
  // for, in their order, or empty if this operator does not iterate.
  absl::StatusOr<at::Tensor> ApplyWithReports(
      const at::Tensor& tensor, std::vector<SolveReport>* reports) const;

  // <x, y> = Op(x)^T y. The form borrows this operator, which must outlive it.
  virtual std::unique_ptr<const BilinearForm> AsBilinearForm() const;

 protected:
  // matrix [K, P], K >= 0, floating -> [K, P]. May throw.
  virtual absl::StatusOr<at::Tensor> DoApply(
      const at::Tensor& matrix) const = 0;

  // The same for operators that iterate, with a report a row; `reports` is
  // empty. Here: DoApply() and no reports.
  virtual absl::StatusOr<at::Tensor> DoApplyWithReports(
      const at::Tensor& matrix, std::vector<SolveReport>* reports) const;
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_OPERATOR_H_
