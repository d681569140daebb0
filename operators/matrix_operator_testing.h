// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The product with a dense matrix as an operator, which may fail, for tests.
#ifndef INFLUENCE_OPERATORS_MATRIX_OPERATOR_TESTING_H_
#define INFLUENCE_OPERATORS_MATRIX_OPERATOR_TESTING_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "operators/operator.h"

namespace influence {

// Not thread-safe: counts its calls.
class MatrixOperator : public Operator {
 public:
  // matrix: [P, P], symmetric. Products are in the dtype of the operand.
  explicit MatrixOperator(at::Tensor matrix);

  int64_t input_size() const override { return matrix_.size(0); }

  const at::Tensor& matrix() const { return matrix_; }

  // From the call of that number on (from 0), products are `status`.
  void FailFrom(int64_t call, absl::Status status);

  int64_t num_calls() const { return num_calls_; }

 protected:
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override;

 private:
  at::Tensor matrix_;
  int64_t first_failure_ = -1;
  absl::Status failure_;
  mutable int64_t num_calls_ = 0;
};

// A symmetric matrix, float64, with these eigenvalues and random eigenvectors.
at::Tensor MatrixWithEigenvalues(const std::vector<double>& eigenvalues,
                                 uint64_t seed = 1);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_MATRIX_OPERATOR_TESTING_H_
