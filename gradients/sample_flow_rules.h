// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Which operators keep each sample's elements to themselves, and where they put
// them. A rule sees shapes and arguments, never values: what it says holds for
// every batch. An operator without a rule is not known to keep samples apart.
#ifndef INFLUENCE_GRADIENTS_SAMPLE_FLOW_RULES_H_
#define INFLUENCE_GRADIENTS_SAMPLE_FLOW_RULES_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/core/ivalue.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "gradients/sample_layout.h"

namespace influence {

// One finished call of an operator.
struct FlowCall {
  c10::ArrayRef<c10::IValue> inputs;  // In the order of the schema.
  c10::ArrayRef<at::Tensor> outputs;  // Those of lists one after the other.
  int64_t num_samples;                // N >= 2.
  // What was known of a tensor before the call.
  absl::FunctionRef<SampleFlow(const at::Tensor&)> flow_of;
};

// Fills in what is known of each of call.outputs, which is as long. False, with
// `flows` in any state, where the call mixes samples or might.
using FlowRule = bool (*)(const FlowCall& call, std::vector<SampleFlow>* flows);

// The rule of "aten::add" or "aten::add_", null if there is none.
FlowRule FindFlowRule(absl::string_view name);

// Whether the operator is made of others which, followed one by one, say all
// there is to say about it: it reads no values itself.
bool IsComposite(absl::string_view name);

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_SAMPLE_FLOW_RULES_H_
