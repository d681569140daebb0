// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Compares what a layer rule gives for a small model with plain autograd.
#ifndef INFLUENCE_GRADIENTS_RULES_RULE_TESTING_H_
#define INFLUENCE_GRADIENTS_RULES_RULE_TESTING_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"

namespace influence {

struct RuleCase {
  // Trainable parameters by name, in order; copied.
  std::vector<std::pair<std::string, at::Tensor>> parameters;
  // f(x) with the parameters in their order; float64, [N, ...].
  std::function<at::Tensor(const std::vector<at::Tensor>& parameters,
                           const at::Tensor& x)>
      forward;
  // At least 5 samples.
  at::Tensor x;
  // The rule expected of each parameter, as the coverage report names it.
  std::vector<std::string> rules;
};

// Fails the current test unless the coverage report names the expected rules
// and the per-sample gradients of a loss that is not linear in the output equal
// those of plain autograd to 1e-10, written out and contracted, for batches of
// 1, 2 and 5.
void ExpectMatchesAutograd(const RuleCase& rule_case);

// Seeded normal numbers in float64.
at::Tensor Normal(at::IntArrayRef shape, uint64_t seed);

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_RULES_RULE_TESTING_H_
