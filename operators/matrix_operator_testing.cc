// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/matrix_operator_testing.h"

#include <tuple>
#include <utility>

#include "ATen/ops/linalg_qr.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/tensor.h"
#include "operators/problem_testing.h"

namespace influence {

MatrixOperator::MatrixOperator(at::Tensor matrix)
    : matrix_(std::move(matrix)) {}

void MatrixOperator::FailFrom(int64_t call, absl::Status status) {
  first_failure_ = call;
  failure_ = std::move(status);
}

absl::StatusOr<at::Tensor> MatrixOperator::DoApply(
    const at::Tensor& matrix) const {
  const int64_t call = num_calls_++;
  if (first_failure_ >= 0 && call >= first_failure_) return failure_;
  return at::matmul(matrix, matrix_.to(matrix.scalar_type()));
}

at::Tensor MatrixWithEigenvalues(const std::vector<double>& eigenvalues,
                                 uint64_t seed) {
  const auto size = static_cast<int64_t>(eigenvalues.size());
  const at::Tensor q =
      std::get<0>(at::linalg_qr(SeededNormal({size, size}, at::kDouble, seed)));
  const at::Tensor c =
      at::matmul(q.mul(at::tensor(eigenvalues, at::kDouble)), q.t());
  return c.add(c.t()).div(2);
}

}  // namespace influence
