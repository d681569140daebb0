// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The layer rules by the operators they understand.
#ifndef INFLUENCE_GRADIENTS_LAYER_RULE_REGISTRY_H_
#define INFLUENCE_GRADIENTS_LAYER_RULE_REGISTRY_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "gradients/layer_rule.h"

namespace influence {

// Thread-safe once built.
class LayerRuleRegistry {
 public:
  // All rules of gradients/rules/. Built on first use, never destroyed.
  static const LayerRuleRegistry& Default();

  // kAlreadyExists, naming the operator, if one of the rule's operators has a
  // rule.
  absl::Status Register(std::unique_ptr<LayerRule> rule);

  // The rule for "aten::addmm", or null.
  const LayerRule* Find(absl::string_view operator_name) const;

 private:
  std::vector<std::unique_ptr<LayerRule>> rules_;
  absl::flat_hash_map<std::string, const LayerRule*> by_operator_;
};

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_LAYER_RULE_REGISTRY_H_
