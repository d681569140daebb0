// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Embeddings: row indices[n, t] of the weight receives the gradient of output
// position (n, t); positions that hold padding_idx receive none.
#ifndef INFLUENCE_GRADIENTS_RULES_EMBEDDING_RULE_H_
#define INFLUENCE_GRADIENTS_RULES_EMBEDDING_RULE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/strings/string_view.h"
#include "gradients/gradient_term.h"
#include "gradients/layer_rule.h"
#include "gradients/sample_axis.h"

namespace influence {

class EmbeddingRule : public LayerRule {
 public:
  absl::string_view name() const override { return "embedding"; }
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

// The term of an embedding's weight when its output is the same for every
// sample (positions) and `output_term` holds the per-sample gradients of a
// range of that output, flattened. `call` must be one that EmbeddingRule
// covers.
std::shared_ptr<const GradientTerm> EmbeddingTermOfConstantOutput(
    const OperatorCall& call, const DenseTerm& output_term);

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_RULES_EMBEDDING_RULE_H_
