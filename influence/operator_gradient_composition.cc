// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/operator_gradient_composition.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/validators.h"
#include "operators/bilinear_form.h"

namespace influence {

absl::StatusOr<OperatorGradientComposition> OperatorGradientComposition::Create(
    std::shared_ptr<const Operator> op,
    std::shared_ptr<const GradientProvider> provider,
    std::shared_ptr<const GradientProvider> query_provider) {
  if (op == nullptr || provider == nullptr) {
    return absl::InvalidArgumentError(op == nullptr ? "operator: is null"
                                                    : "provider: is null");
  }
  if (query_provider == nullptr) query_provider = provider;
  for (const GradientProvider* side : {provider.get(), query_provider.get()}) {
    if (side->num_parameters() == op->input_size()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("operator: found size ", op->input_size(),
                     ", expected the provider's ", side->num_parameters()));
  }
  return OperatorGradientComposition(std::move(op), std::move(provider),
                                     std::move(query_provider));
}

OperatorGradientComposition::OperatorGradientComposition(
    std::shared_ptr<const Operator> op,
    std::shared_ptr<const GradientProvider> provider,
    std::shared_ptr<const GradientProvider> query_provider)
    : op_(std::move(op)),
      provider_(std::move(provider)),
      query_provider_(std::move(query_provider)) {}

absl::StatusOr<at::Tensor> OperatorGradientComposition::Interactions(
    const Batch& left, const std::optional<Batch>& right, InfluenceMode mode,
    int64_t input) const {
  const std::unique_ptr<const BilinearForm> form = op_->AsBilinearForm();
  INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients left_grads,
                             query_provider_->FactoredGrads(left));
  INFLUENCE_ASSIGN_OR_RETURN(std::unique_ptr<const PreparedGrads> prepared,
                             form->PrepareGrads(left_grads));
  const Batch& right_batch = right.has_value() ? *right : left;
  if (mode == InfluenceMode::kPerturbation) {
    return prepared->MixedGradsInnerProd(right_batch, *provider_, input);
  }
  if (!right.has_value() && query_provider_ == provider_) {
    return prepared->GradsInnerProd(left_grads);
  }
  INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients right_grads,
                             provider_->FactoredGrads(right_batch));
  return prepared->GradsInnerProd(right_grads);
}

absl::StatusOr<at::Tensor> OperatorGradientComposition::TransformedGrads(
    const Batch& batch) const {
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor grads,
                             query_provider_->FlatGrads(batch));
  return op_->Apply(grads);
}

absl::StatusOr<at::Tensor>
OperatorGradientComposition::InteractionsFromTransformedGrads(
    const at::Tensor& left_factors, const Batch& right, InfluenceMode mode,
    int64_t input) const {
  INFLUENCE_RETURN_IF_ERROR(
      ValidateVectorOrMatrix("factors", left_factors, op_->input_size()));
  if (left_factors.dim() == 1) {
    return InteractionsFromTransformedGrads(left_factors.unsqueeze(0), right,
                                            mode, input);
  }
  if (mode == InfluenceMode::kPerturbation) {
    return provider_->MixedProd(right, left_factors, input);
  }
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor products,
                             provider_->JacobianProd(right, left_factors));
  return products.t();
}

}  // namespace influence
