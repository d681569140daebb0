// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Elementwise scale and bias, x * s, x + b and x - b, with any broadcasting
// that leaves the sample dimension alone (a scalar, a channel, a position,
// ...).
#ifndef INFLUENCE_GRADIENTS_RULES_ELEMENTWISE_RULE_H_
#define INFLUENCE_GRADIENTS_RULES_ELEMENTWISE_RULE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/strings/string_view.h"
#include "gradients/layer_rule.h"
#include "gradients/sample_axis.h"

namespace influence {

class ElementwiseRule : public LayerRule {
 public:
  absl::string_view name() const override { return "elementwise"; }
  std::vector<std::string> operators() const override;
  std::vector<size_t> CoveredArguments(const OperatorCall& call) const override;
  std::vector<size_t> ValueArguments(const OperatorCall& call) const override;
  bool SupportsAxis(const OperatorCall& call,
                    const SampleAxis& axis) const override;
  std::vector<ParameterTerm> Terms(const OperatorCall& call,
                                   const at::Tensor& output_gradient,
                                   const SampleAxis& axis,
                                   int64_t num_samples) const override;
  // An unscaled sum.
  std::optional<AdditionCall> AsAddition(
      const OperatorCall& call) const override;
};

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_RULES_ELEMENTWISE_RULE_H_
