// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/sample_flow_arguments.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/core/ivalue.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "gradients/sample_flow_rules.h"
#include "gradients/sample_layout.h"

namespace influence {
namespace {

bool Contains(const std::vector<int64_t>& values, int64_t value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

}  // namespace

void AddRule(FlowTable& table, FlowRule rule, absl::string_view names) {
  for (const absl::string_view name : absl::StrSplit(names, ' ')) {
    table[name] = rule;
  }
}

bool IsTensor(const FlowCall& call, size_t position) {
  return position < call.inputs.size() && call.inputs[position].isTensor() &&
         call.inputs[position].toTensor().defined();
}

bool OnlyThese(const FlowCall& call, std::initializer_list<size_t> positions) {
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    if (!IsTensor(call, i)) continue;
    if (std::find(positions.begin(), positions.end(), i) != positions.end()) {
      continue;
    }
    if (call.flow_of(call.inputs[i].toTensor()).has_samples) return false;
  }
  return true;
}

std::optional<std::vector<int64_t>> Dimensions(const FlowCall& call,
                                               size_t position,
                                               int64_t num_dims) {
  if (position >= call.inputs.size()) return std::nullopt;
  const c10::IValue& value = call.inputs[position];
  std::vector<int64_t> dims;
  if (value.isInt()) {
    dims.push_back(value.toInt());
  } else if (value.isIntList()) {
    dims = value.toIntVector();
  }
  if (dims.empty()) return std::nullopt;
  for (int64_t& dim : dims) {
    if (dim < 0) dim += num_dims;
  }
  return dims;
}

bool ToAll(const FlowCall& call, const SampleFlow& flow, Flows* flows) {
  flows->assign(call.outputs.size(), flow);
  return true;
}

std::optional<SampleFlow> Broadcast(const FlowCall& call,
                                    const std::vector<at::Tensor>& tensors,
                                    at::IntArrayRef shape) {
  SampleFlow result;
  const int64_t num_dims = static_cast<int64_t>(shape.size());
  for (const at::Tensor& tensor : tensors) {
    const SampleFlow flow = call.flow_of(tensor);
    const int64_t shift = num_dims - tensor.dim();
    if (shift < 0) return std::nullopt;
    if (!flow.has_samples) {
      result.varies |= flow.varies << shift;
      continue;
    }
    SampleLayout layout = flow.layout;
    layout.dim += shift;
    if (shape[layout.dim] != layout.Length(call.num_samples)) {
      return std::nullopt;
    }
    if (result.has_samples && result.layout != layout) return std::nullopt;
    result.has_samples = true;
    result.layout = layout;
  }
  // A value of its own for each row would tell the first sample of a batch from
  // the second one.
  if (result.has_samples && HasBit(result.varies, result.layout.dim)) {
    return std::nullopt;
  }
  return result;
}

std::optional<SampleFlow> Along(const SampleFlow& flow, at::IntArrayRef shape,
                                const std::vector<int64_t>& dims, bool drops) {
  SampleFlow result;
  result.has_samples = flow.has_samples;
  result.layout = flow.layout;
  if (flow.has_samples && Contains(dims, flow.layout.dim)) return std::nullopt;
  int64_t next = 0;
  for (int64_t d = 0; d < static_cast<int64_t>(shape.size()); ++d) {
    const bool worked_on = Contains(dims, d);
    if (worked_on && drops) continue;
    if (HasBit(flow.varies, d) || (worked_on && shape[d] > 1)) {
      result.varies |= Bit(next);
    }
    if (flow.has_samples && d == flow.layout.dim) result.layout.dim = next;
    ++next;
  }
  return result;
}

bool LikeFirst(const FlowCall& call, Flows* flows) {
  if (!IsTensor(call, 0)) return false;
  const at::Tensor& input = call.inputs[0].toTensor();
  for (const at::Tensor& output : call.outputs) {
    if (output.sizes() != input.sizes()) return false;
  }
  return ToAll(call, call.flow_of(input), flows);
}

}  // namespace influence
