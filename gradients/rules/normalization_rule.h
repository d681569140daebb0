// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Scale and bias of layer, group, instance and RMS norm, and of BatchNorm with
// running statistics: grad_scale = sum g * x_hat, grad_bias = sum g, where
// x_hat is the normalised input before scale and bias.
#ifndef INFLUENCE_GRADIENTS_RULES_NORMALIZATION_RULE_H_
#define INFLUENCE_GRADIENTS_RULES_NORMALIZATION_RULE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/strings/string_view.h"
#include "gradients/layer_rule.h"
#include "gradients/sample_axis.h"

namespace influence {

class NormalizationRule : public LayerRule {
 public:
  absl::string_view name() const override { return "normalization"; }
  std::vector<std::string> operators() const override;
  std::vector<size_t> CoveredArguments(const OperatorCall& call) const override;
  std::vector<size_t> ValueArguments(const OperatorCall& call) const override;
  bool SupportsAxis(const OperatorCall& call,
                    const SampleAxis& axis) const override;
  std::vector<ParameterTerm> Terms(const OperatorCall& call,
                                   const at::Tensor& output_gradient,
                                   const SampleAxis& axis,
                                   int64_t num_samples) const override;
};

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_RULES_NORMALIZATION_RULE_H_
