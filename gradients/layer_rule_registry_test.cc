// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/layer_rule_registry.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gradients/layer_rule.h"
#include "gradients/sample_axis.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

class NamedRule : public LayerRule {
 public:
  explicit NamedRule(std::vector<std::string> operators)
      : operators_(std::move(operators)) {}
  absl::string_view name() const override { return "named"; }
  std::vector<std::string> operators() const override { return operators_; }
  std::vector<size_t> CoveredArguments(const OperatorCall&) const override {
    return {};
  }
  std::vector<size_t> ValueArguments(const OperatorCall&) const override {
    return {};
  }
  bool SupportsAxis(const OperatorCall&, const SampleAxis&) const override {
    return false;
  }
  std::vector<ParameterTerm> Terms(const OperatorCall&, const at::Tensor&,
                                   const SampleAxis&, int64_t) const override {
    return {};
  }

 private:
  std::vector<std::string> operators_;
};

TEST(LayerRuleRegistryTest, DefaultKnowsEveryLayerKind) {
  const LayerRuleRegistry& registry = LayerRuleRegistry::Default();
  for (const char* name :
       {"aten::linear", "aten::addmm", "aten::matmul", "aten::convolution",
        "aten::embedding", "aten::layer_norm", "aten::batch_norm",
        "aten::mul"}) {
    EXPECT_NE(registry.Find(name), nullptr) << name;
  }
  EXPECT_EQ(registry.Find("aten::prelu"), nullptr);
}

TEST(LayerRuleRegistryTest, RefusesASecondRuleForAnOperator) {
  LayerRuleRegistry registry;
  INFLUENCE_ASSERT_OK(registry.Register(
      std::make_unique<NamedRule>(std::vector<std::string>{"aten::first"})));
  EXPECT_THAT(registry.Register(std::make_unique<NamedRule>(
                  std::vector<std::string>{"aten::other", "aten::first"})),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       HasSubstr("found a rule for aten::first")));
  // Nothing of the refused rule stays behind.
  EXPECT_EQ(registry.Find("aten::other"), nullptr);
}

}  // namespace
}  // namespace influence
