// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/layer_rule_registry.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "gradients/layer_rule.h"
#include "gradients/rules/convolution_rule.h"
#include "gradients/rules/elementwise_rule.h"
#include "gradients/rules/embedding_rule.h"
#include "gradients/rules/linear_rule.h"
#include "gradients/rules/normalization_rule.h"

namespace influence {

const LayerRuleRegistry& LayerRuleRegistry::Default() {
  static const LayerRuleRegistry* const registry = [] {
    auto* built = new LayerRuleRegistry;
    INFLUENCE_CHECK(built->Register(std::make_unique<LinearRule>()).ok());
    INFLUENCE_CHECK(built->Register(std::make_unique<ConvolutionRule>()).ok());
    INFLUENCE_CHECK(built->Register(std::make_unique<EmbeddingRule>()).ok());
    INFLUENCE_CHECK(
        built->Register(std::make_unique<NormalizationRule>()).ok());
    INFLUENCE_CHECK(built->Register(std::make_unique<ElementwiseRule>()).ok());
    return built;
  }();
  return *registry;
}

absl::Status LayerRuleRegistry::Register(std::unique_ptr<LayerRule> rule) {
  for (const std::string& name : rule->operators()) {
    if (by_operator_.contains(name)) {
      return absl::AlreadyExistsError(
          absl::StrCat("layer rule ", rule->name(), ": found a rule for ", name,
                       ", expected an operator without one"));
    }
  }
  for (const std::string& name : rule->operators()) {
    by_operator_[name] = rule.get();
  }
  rules_.push_back(std::move(rule));
  return absl::OkStatus();
}

const LayerRule* LayerRuleRegistry::Find(
    absl::string_view operator_name) const {
  const auto found = by_operator_.find(operator_name);
  return found == by_operator_.end() ? nullptr : found->second;
}

}  // namespace influence
