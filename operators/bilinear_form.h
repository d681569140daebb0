// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A bilinear form <x, y>_B = (B x)^T y on R^D, and its values on the gradients
// of two batches, which are reached through their factors wherever possible.
#ifndef INFLUENCE_OPERATORS_BILINEAR_FORM_H_
#define INFLUENCE_OPERATORS_BILINEAR_FORM_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/batch.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"
#include "operators/solve_report.h"

namespace influence {

// The left gradients of a bilinear form, prepared once to be met by any number
// of right batches. Immutable and thread-safe; borrows the form.
class PreparedGrads {
 public:
  virtual ~PreparedGrads() = default;

  virtual int64_t num_samples() const = 0;     // N
  virtual int64_t num_parameters() const = 0;  // D

  // How each left gradient was solved for; empty if B does not iterate.
  virtual std::vector<SolveReport> solve_reports() const { return {}; }

  // B applied to the left gradients, [N, D].
  absl::StatusOr<at::Tensor> TransformedGrads() const;

  // <grad_n^left, grad_m^right>_B, [N, M].
  absl::StatusOr<at::Tensor> GradsInnerProd(
      const FactoredGradients& right) const;

  // <grad_n^left, grad_n^right>_B, [N]: the diagonal of GradsInnerProd() with
  // as many right gradients, without the rest of it.
  absl::StatusOr<at::Tensor> RowwiseInnerProd(
      const FactoredGradients& right) const;

  // <grad_n^left, d/dx_m grad l(z_m^right)>_B for input number `input`, [N, M,
  // *shape of one x].
  absl::StatusOr<at::Tensor> MixedGradsInnerProd(
      const Batch& right, const GradientProvider& provider,
      int64_t input = 0) const;

 protected:
  // May throw.
  virtual absl::StatusOr<at::Tensor> DoTransformedGrads() const = 0;

  // `right` has D parameters. May throw.
  virtual absl::StatusOr<at::Tensor> DoGradsInnerProd(
      const FactoredGradients& right) const = 0;

  // `right` has N samples and D parameters. Here: DoTransformedGrads() and the
  // right gradients written out a tile at a time. May throw.
  virtual absl::StatusOr<at::Tensor> DoRowwiseInnerProd(
      const FactoredGradients& right) const;
};

// Immutable and as thread-safe as what it is made of. N and M are the numbers
// of left and right samples. Sizes that differ are kInvalidArgument, and the
// message says both.
class BilinearForm {
 public:
  virtual ~BilinearForm() = default;

  virtual int64_t input_size() const = 0;  // D

  // left [N, D], right [M, ..., D] -> [N, M, ...]: the trailing dimension is
  // contracted, the others keep their order. left [D] gives [M, ...] and right
  // [D] drops M. `right` left out means `left`. One application of B to left.
  absl::StatusOr<at::Tensor> InnerProd(
      const at::Tensor& left,
      const std::optional<at::Tensor>& right = std::nullopt) const;

  // <grad l(z_n^left), grad l(z_m^right)>_B, [N, M]. `right` left out means
  // `left`. Never holds the right gradients as [M, D].
  absl::StatusOr<at::Tensor> GradsInnerProd(
      const Batch& left, const std::optional<Batch>& right,
      const GradientProvider& provider) const;

  // The same for gradients that are at hand.
  absl::StatusOr<at::Tensor> GradsInnerProd(
      const FactoredGradients& left, const FactoredGradients& right) const;

  // The left side of the two products, for use with many right batches. The
  // form must outlive the result.
  absl::StatusOr<std::unique_ptr<const PreparedGrads>> PrepareGrads(
      const FactoredGradients& left) const;

  // <grad l(z_n^left), d/dx_m grad l(z_m^right)>_B for input number `input`,
  // [N, M, *shape of one x]. `right` left out means `left`. One double backward
  // pass of the right batch for each left sample; memory O(N M n).
  absl::StatusOr<at::Tensor> MixedGradsInnerProd(
      const Batch& left, const std::optional<Batch>& right,
      const GradientProvider& provider, int64_t input = 0) const;

 protected:
  // Row n of the result is B left_n; left [N, D] has been checked. May throw.
  virtual absl::StatusOr<at::Tensor> Transform(
      const at::Tensor& left) const = 0;

  // The same for forms that iterate, with a report a row; `reports` is empty.
  // Here: Transform() and no reports.
  virtual absl::StatusOr<at::Tensor> TransformWithReports(
      const at::Tensor& left, std::vector<SolveReport>* reports) const;

  // PrepareGrads() of gradients whose size has been checked. Here: the left
  // ones are written out as [N, D] and transformed, to be contracted with the
  // right ones' factors. May throw.
  virtual absl::StatusOr<std::unique_ptr<const PreparedGrads>> DoPrepareGrads(
      const FactoredGradients& left) const;
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_BILINEAR_FORM_H_
