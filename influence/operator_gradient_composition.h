// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// An operator on the parameter space together with the gradients it acts on:
// interactions <Op(grad q(z_i)), grad l(z_j)> between the samples of two
// batches, where q is the query function and l the training loss.
#ifndef INFLUENCE_INFLUENCE_OPERATOR_GRADIENT_COMPOSITION_H_
#define INFLUENCE_INFLUENCE_OPERATOR_GRADIENT_COMPOSITION_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/batch.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"
#include "influence/influence_mode.h"
#include "operators/operator.h"

namespace influence {

// Immutable; as thread-safe as its parts. M and N are the numbers of left
// (query) and right (training) samples, P the operator's size. `input` is the
// number of the input in Batch::x that kPerturbation differentiates in; an
// integer input is kInvalidArgument, and kUp ignores it.
class OperatorGradientComposition {
 public:
  // `query_provider` gives the left gradients; `provider` does where it is
  // null. kInvalidArgument if another argument is null or the sizes differ.
  static absl::StatusOr<OperatorGradientComposition> Create(
      std::shared_ptr<const Operator> op,
      std::shared_ptr<const GradientProvider> provider,
      std::shared_ptr<const GradientProvider> query_provider = nullptr);

  const Operator& op() const { return *op_; }
  const GradientProvider& provider() const { return *provider_; }
  const GradientProvider& query_provider() const { return *query_provider_; }

  // [M, N] or, with kPerturbation, [M, N, *shape of one x]. `right` left out
  // means the samples of `left`, with the training loss.
  absl::StatusOr<at::Tensor> Interactions(const Batch& left,
                                          const std::optional<Batch>& right,
                                          InfluenceMode mode,
                                          int64_t input = 0) const;

  // Op(grad q(z_i)), [M, P].
  absl::StatusOr<at::Tensor> TransformedGrads(const Batch& batch) const;

  // Interactions() from left factors [M, P] that TransformedGrads() made.
  absl::StatusOr<at::Tensor> InteractionsFromTransformedGrads(
      const at::Tensor& left_factors, const Batch& right, InfluenceMode mode,
      int64_t input = 0) const;

 private:
  OperatorGradientComposition(
      std::shared_ptr<const Operator> op,
      std::shared_ptr<const GradientProvider> provider,
      std::shared_ptr<const GradientProvider> query_provider);

  std::shared_ptr<const Operator> op_;
  std::shared_ptr<const GradientProvider> provider_;
  std::shared_ptr<const GradientProvider> query_provider_;
};

}  // namespace influence

#endif  // INFLUENCE_INFLUENCE_OPERATOR_GRADIENT_COMPOSITION_H_
