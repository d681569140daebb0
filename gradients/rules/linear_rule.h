// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Linear layers with any leading dimensions: linear, addmm, mm, matmul, bmm
// (and einsum, which calls it), the weight on either side, whole or a
// contiguous part of a fused weight, or a stack of weights, one a group.
//
// For out = a W (+ b) with positions t: grad_W = sum_t a_t g_t^T and
// grad_b = sum_t g_t.
#ifndef INFLUENCE_GRADIENTS_RULES_LINEAR_RULE_H_
#define INFLUENCE_GRADIENTS_RULES_LINEAR_RULE_H_

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

class LinearRule : public LayerRule {
 public:
  absl::string_view name() const override { return "linear"; }
  std::vector<std::string> operators() const override;
  std::vector<size_t> CoveredArguments(const OperatorCall& call) const override;
  std::vector<size_t> ValueArguments(const OperatorCall& call) const override;
  bool SupportsAxis(const OperatorCall& call,
                    const SampleAxis& axis) const override;
  std::vector<ParameterTerm> Terms(const OperatorCall& call,
                                   const at::Tensor& output_gradient,
                                   const SampleAxis& axis,
                                   int64_t num_samples) const override;
  std::optional<AffineCall> AsAffine(const OperatorCall& call) const override;
};

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_RULES_LINEAR_RULE_H_
