// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What the rules of sample_flow_rules.h and sample_flow_layers.h are made of.
#ifndef INFLUENCE_GRADIENTS_SAMPLE_FLOW_ARGUMENTS_H_
#define INFLUENCE_GRADIENTS_SAMPLE_FLOW_ARGUMENTS_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "gradients/sample_flow_rules.h"
#include "gradients/sample_layout.h"

namespace influence {

using Flows = std::vector<SampleFlow>;

// Rules by operator, without "aten::".
using FlowTable = absl::flat_hash_map<absl::string_view, FlowRule>;

// names: separated by spaces.
void AddRule(FlowTable& table, FlowRule rule, absl::string_view names);

inline uint64_t Bit(int64_t d) { return uint64_t{1} << d; }
inline bool HasBit(uint64_t bits, int64_t d) {
  return d >= 0 && (bits & Bit(d)) != 0;
}

// Whether there is a tensor at `position` of the call's inputs.
bool IsTensor(const FlowCall& call, size_t position);

// Whether no tensor argument but those at `positions` has samples.
bool OnlyThese(const FlowCall& call, std::initializer_list<size_t> positions);

// The dimensions at `position`, counted from the front; nullopt if there are
// none, which means all of them, or the argument is something else.
std::optional<std::vector<int64_t>> Dimensions(const FlowCall& call,
                                               size_t position,
                                               int64_t num_dims);

// All outputs are known as `flow`. Returns true.
bool ToAll(const FlowCall& call, const SampleFlow& flow, Flows* flows);

// What an elementwise function of broadcast `tensors` knows of its result.
std::optional<SampleFlow> Broadcast(const FlowCall& call,
                                    const std::vector<at::Tensor>& tensors,
                                    at::IntArrayRef shape);

// What is known after work along `dims` of `shape`, which an output without
// keepdim lacks (drops); nullopt where the samples lie along one of them.
std::optional<SampleFlow> Along(const SampleFlow& flow, at::IntArrayRef shape,
                                const std::vector<int64_t>& dims, bool drops);

// The rule of what keeps the first argument's values or their places.
bool LikeFirst(const FlowCall& call, Flows* flows);

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_SAMPLE_FLOW_ARGUMENTS_H_
