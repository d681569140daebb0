// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The inverse of A = C + lambda I for a dense symmetric C, by factorisation:
// Cholesky where A is positive definite, otherwise LU with pivoting.
#ifndef INFLUENCE_OPERATORS_DIRECT_INVERSE_H_
#define INFLUENCE_OPERATORS_DIRECT_INVERSE_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "operators/operator.h"

namespace influence {

struct DirectInverseOptions {
  double regularization = 0;  // lambda: finite, >= 0.

  // How exact the entries of C are, relative to its norm: the rounding unit of
  // the dtype they were computed in. With lambda = 0 an eigenvalue of magnitude
  // at most P * relative_accuracy * the largest counts as zero; with lambda > 0
  // the rounding unit of float64 takes its place.
  double relative_accuracy = 2.220446049250313e-16;
};

// Solves in float64 and answers in the dtype of the right-hand sides. Immutable
// and thread-safe. Memory: the factor, 8 P^2 bytes, and C, which is shared.
class DirectInverse : public Operator {
 public:
  // c: float64 [P, P], symmetric (the caller's promise; only the lower triangle
  // counts), kept and not changed. P^3 / 3 operations if A is positive
  // definite; an indefinite A also costs its eigenvalues. kInvalidArgument if
  // `c` or an option is not as stated, or has an entry that is not finite;
  // kInvalidArgument that names the regularization if A is singular.
  static absl::StatusOr<std::shared_ptr<const DirectInverse>> Create(
      at::Tensor c, const DirectInverseOptions& options);

  // The same C with another lambda, which costs a factorisation.
  absl::StatusOr<std::shared_ptr<const DirectInverse>> WithRegularization(
      double regularization) const;

  int64_t input_size() const override { return c_.size(0); }

  const at::Tensor& c() const { return c_; }
  double regularization() const { return options_.regularization; }

  // The smallest eigenvalue of A, negative, if A is indefinite; nothing if A is
  // positive definite, where it is not computed.
  std::optional<double> smallest_eigenvalue() const {
    return smallest_eigenvalue_;
  }

 protected:
  // Row k of the result is A^-1 row k. 2 K P^2 operations.
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override;

 private:
  DirectInverse(at::Tensor c, const DirectInverseOptions& options);

  absl::Status Factorize();

  at::Tensor c_;
  DirectInverseOptions options_;
  at::Tensor factor_;  // Cholesky L, or LU with pivots_.
  at::Tensor pivots_;  // Undefined with Cholesky.
  std::optional<double> smallest_eigenvalue_;
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_DIRECT_INVERSE_H_
