// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Convolutions and transposed convolutions in 1, 2 and 3 dimensions with any
// stride, padding, dilation, output padding and groups. Padding modes other
// than zeros are a padding operator before the convolution, which needs no
// rule.
//
// grad_W[o, (c, k)] = sum_t g[o, t] patch(x)[(c, k), t] per group, t over
// output positions; for a transposed convolution grad_W[c, (o, k)] = sum_t x[c,
// t] patch(g)[(o, k), t], t over input positions.
#ifndef INFLUENCE_GRADIENTS_RULES_CONVOLUTION_RULE_H_
#define INFLUENCE_GRADIENTS_RULES_CONVOLUTION_RULE_H_

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

class ConvolutionRule : public LayerRule {
 public:
  absl::string_view name() const override { return "convolution"; }
  std::vector<std::string> operators() const override;
  std::vector<size_t> CoveredArguments(const OperatorCall& call) const override;
  std::vector<size_t> ValueArguments(const OperatorCall& call) const override;
  bool SupportsAxis(const OperatorCall& call,
                    const SampleAxis& axis) const override;
  std::vector<ParameterTerm> Terms(const OperatorCall& call,
                                   const at::Tensor& output_gradient,
                                   const SampleAxis& axis,
                                   int64_t num_samples) const override;
  // Not for transposed convolutions.
  std::optional<AffineCall> AsAffine(const OperatorCall& call) const override;
};

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_RULES_CONVOLUTION_RULE_H_
