// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The per-sample gradients of a batch in factored form: per parameter a sum of
// terms (gradient_term.h), never multiplied out to [N, P].
#ifndef INFLUENCE_GRADIENTS_FACTORED_GRADIENTS_H_
#define INFLUENCE_GRADIENTS_FACTORED_GRADIENTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gradients/gradient_term.h"

namespace influence {

// The gradients of one parameter.
struct FactoredParameter {
  std::string name;
  int64_t size;  // Number of scalars.
  // The gradient is their sum, zero where there is none.
  std::vector<std::shared_ptr<const GradientTerm>> terms;
};

// G [N, P], row n the gradient of sample n; P runs over parameters() in their
// order. Immutable and thread-safe; copies share the terms. Costs below are in
// multiply-adds for a linear layer of a inputs, o outputs and T positions.
class FactoredGradients {
 public:
  // Terms must lie within their parameter and have num_samples rows.
  FactoredGradients(int64_t num_samples, at::ScalarType dtype,
                    std::vector<FactoredParameter> parameters);

  int64_t num_samples() const { return num_samples_; }        // N
  int64_t num_parameters() const { return num_parameters_; }  // P
  at::ScalarType dtype() const { return dtype_; }
  const std::vector<FactoredParameter>& parameters() const {
    return parameters_;
  }

  // G itself, [N, P]. N*T*a*o.
  absl::StatusOr<at::Tensor> Flatten() const;

  // Writes G over `out` [N, P], whose rows may be strided.
  absl::Status FlattenInto(const at::Tensor& out) const;

  // Rows [begin, end) of G, for work in tiles of bounded size.
  absl::StatusOr<at::Tensor> FlattenRows(int64_t begin, int64_t end) const;

  // G matrix^T, [N, K], for matrix [K, P] (or [P], which gives [N]).
  // N*K*a*o, or N*T*a*o more where that is cheaper than N*T*K*a*o.
  absl::StatusOr<at::Tensor> Contract(const at::Tensor& matrix) const;

  // weights G, [K, P], for weights [K, N] (or [N], which gives [P]).
  absl::StatusOr<at::Tensor> WeightedSum(const at::Tensor& weights) const;

  // G other^T, [N, other.N]: the Gram matrix. Per layer either from the
  // factors, N*M*T*T*(a+o), or through tiles, N*M*a*o, whichever is less.
  // `other` must be of the same parameters.
  absl::StatusOr<at::Tensor> Gram(const FactoredGradients& other) const;

  // |g_n|^2 for each sample, [N].
  absl::StatusOr<at::Tensor> SquaredNorms() const;

  // sum_n g_n^2 entry by entry, [P], float64: N times the diagonal of the
  // Gauss-Newton matrix. Never [N, P]: per layer N*a*o multiply-adds without
  // positions, N*T*a*o with.
  absl::StatusOr<at::Tensor> SumOfSquares() const;

  // g_n . other_n for each sample, [N]; `other` has the same samples and
  // parameters.
  absl::StatusOr<at::Tensor> RowwiseInnerProduct(
      const FactoredGradients& other) const;

  // The gradients of the parameters at `indices` (into parameters()), in that
  // order. Copies no data. kInvalidArgument on an index out of range.
  absl::StatusOr<FactoredGradients> Select(
      const std::vector<int64_t>& indices) const;

 private:
  // Writes rows [begin, end) over `out`; throws on a LibTorch failure.
  void WriteRows(int64_t begin, int64_t end, const at::Tensor& out) const;

  int64_t num_samples_;
  at::ScalarType dtype_;
  std::vector<FactoredParameter> parameters_;
  int64_t num_parameters_ = 0;
};

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_FACTORED_GRADIENTS_H_
