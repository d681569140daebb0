// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/sample_tracker.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/core/ivalue.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gradients/sample_axis.h"
#include "gradients/sample_flow_rules.h"
#include "gradients/sample_layout.h"

namespace influence {
namespace {

const void* KeyOf(const at::Tensor& tensor) {
  return tensor.unsafeGetTensorImpl();
}

const void* StorageKeyOf(const at::Tensor& tensor) {
  return tensor.has_storage() ? tensor.storage().unsafeGetStorageImpl()
                              : nullptr;
}

template <typename Visitor>
void ForEachTensor(const c10::IValue& value, const Visitor& visit) {
  if (value.isTensor()) {
    if (value.toTensor().defined()) visit(value.toTensor());
  } else if (value.isTensorList() || value.isOptionalTensorList()) {
    for (const auto& element : value.toListRef()) ForEachTensor(element, visit);
  }
}

// Operators that tell of a tensor's kind or shape.
bool ReadsShapeAlone(absl::string_view name) {
  return name == "aten::size" || name == "aten::sym_size" ||
         name == "aten::numel" || name == "aten::sym_numel" ||
         name == "aten::dim" || name == "aten::stride" ||
         name == "aten::sym_stride" || name == "aten::is_floating_point" ||
         name == "aten::is_complex" || name == "aten::is_contiguous" ||
         name == "aten::is_same_size" || name == "aten::result_type" ||
         name == "aten::can_cast" || name == "aten::storage_offset" ||
         name == "aten::cudnn_is_acceptable";
}

// Whether a comparison of two tensors has to look at their values.
bool ComparesOneTensor(absl::string_view name,
                       c10::ArrayRef<c10::IValue> inputs) {
  if (name != "aten::equal" || inputs.size() != 2 || !inputs[0].isTensor() ||
      !inputs[1].isTensor()) {
    return false;
  }
  const at::Tensor& a = inputs[0].toTensor();
  const at::Tensor& b = inputs[1].toTensor();
  return a.is_same(b) ||
         (a.is_alias_of(b) && a.storage_offset() == b.storage_offset() &&
          a.sizes() == b.sizes() && a.strides() == b.strides());
}

}  // namespace

void SampleTracker::AddSamples(const at::Tensor& tensor) {
  if (tensor.dim() < 1 || tensor.size(0) != num_samples_) {
    Fail("an input without a first dimension of samples");
    return;
  }
  Set(tensor, SampleFlow{true, SampleLayout(), 0});
}

std::unique_ptr<SampleTracker::Call> SampleTracker::Start(
    absl::string_view name, c10::ArrayRef<c10::IValue> inputs) {
  if (inside_ > 0 || !reason_.empty()) return nullptr;
  bool has_samples = false, unknown = false;
  for (const c10::IValue& input : inputs) {
    ForEachTensor(input, [&](const at::Tensor& tensor) {
      const std::optional<SampleFlow> flow = Find(tensor);
      if (!flow.has_value()) {
        unknown = true;
      } else if (flow->has_samples) {
        has_samples = true;
      }
    });
  }
  if (unknown) {
    Fail(absl::StrCat("a tensor that no operator made is read by ", name));
    return nullptr;
  }
  const FlowRule rule = FindFlowRule(name);
  if (rule == nullptr) {
    if (IsComposite(name) || ReadsShapeAlone(name) ||
        ComparesOneTensor(name, inputs)) {
      return nullptr;
    }
    if (has_samples) {
      Fail(std::string(name));
      return nullptr;
    }
  }
  auto call = std::make_unique<Call>();
  call->name = std::string(name);
  call->rule = rule;
  call->inputs.assign(inputs.begin(), inputs.end());
  ++inside_;
  return call;
}

bool SampleTracker::Apply(const Call& call,
                          const std::vector<at::Tensor>& outputs, bool read,
                          std::vector<SampleFlow>* flows) const {
  flows->clear();
  const auto flow_of = [this, read](const at::Tensor& tensor) {
    return FlowOf(tensor, read);
  };
  return call.rule != nullptr &&
         call.rule(FlowCall{call.inputs, outputs, num_samples_, flow_of},
                   flows) &&
         flows->size() == outputs.size();
}

void SampleTracker::End(const Call& call,
                        const std::vector<at::Tensor>& outputs) {
  --inside_;
  if (!reason_.empty()) return;
  // The arguments, some of which the call may have changed and returned.
  std::vector<at::Tensor> arguments;
  bool has_samples = false;
  uint64_t guess = 0;
  for (const c10::IValue& input : call.inputs) {
    ForEachTensor(input, [&](const at::Tensor& tensor) {
      arguments.push_back(tensor);
      has_samples = has_samples || FlowOf(tensor, /*read=*/false).has_samples;
      const auto known = known_.find(KeyOf(tensor));
      if (known != known_.end()) guess |= known->second.guess;
    });
  }
  std::vector<SampleFlow> flows, readings;
  const bool readable =
      guess != 0 && Apply(call, outputs, /*read=*/true, &readings);
  if (guess != 0 && !readable) wrong_guesses_ |= guess;
  if (readable && has_samples) {
    flows = readings;
  } else if (!Apply(call, outputs, /*read=*/false, &flows)) {
    if (has_samples) {
      Fail(absl::StrCat(call.name, " along the samples"));
      return;
    }
    flows.clear();
    for (const at::Tensor& output : outputs) {
      flows.push_back(
          SampleFlow{false, SampleLayout(),
                     output.defined() ? AllVary(output.sizes()) : uint64_t{0}});
    }
  }
  for (size_t i = 0; i < outputs.size() && reason_.empty(); ++i) {
    if (!outputs[i].defined()) continue;
    if (flows[i].opaque) {
      if (outputs[i].has_storage()) StorageOf(outputs[i]).has_samples = true;
      continue;
    }
    const SampleLayout& layout = flows[i].layout;
    if (flows[i].has_samples &&
        (layout.dim >= outputs[i].dim() ||
         outputs[i].size(layout.dim) != layout.Length(num_samples_))) {
      Fail(absl::StrCat(call.name, " with an output of an unexpected shape"));
      return;
    }
    bool is_argument = false;
    for (const at::Tensor& argument : arguments) {
      is_argument = is_argument || argument.is_same(outputs[i]);
    }
    if (is_argument) {
      Change(call, outputs[i], FlowOf(outputs[i], /*read=*/false), flows[i]);
    } else if (!readable || has_samples || !readings[i].has_samples) {
      Set(outputs[i], flows[i]);
      if (guess == 0) Guess(outputs[i], flows[i]);
    } else {
      Set(outputs[i], flows[i], readings[i].layout, guess);
    }
  }
}

void SampleTracker::Guess(const at::Tensor& tensor, const SampleFlow& flow) {
  if (flow.has_samples || flow.varies != 0) return;
  for (int64_t d = 0; d < tensor.dim(); ++d) {
    if (tensor.size(d) != num_samples_) continue;
    Set(tensor, flow, SampleLayout{d, 1, 1},
        uint64_t{1} << (num_guesses_++ % 64));
    return;
  }
}

void SampleTracker::Change(const Call& call, const at::Tensor& tensor,
                           const SampleFlow& before, const SampleFlow& after) {
  const auto known = known_.find(KeyOf(tensor));
  const uint64_t guess = known == known_.end() ? 0 : known->second.guess;
  if (call.name == "aten::transpose_") {  // Moves nothing in memory.
    wrong_guesses_ |= guess;
    Set(tensor, after);
    return;
  }
  if (before.has_samples) {
    if (!after.has_samples || before.layout != after.layout) {
      Fail(absl::StrCat(call.name, " moves samples in place"));
    }
    return;
  }
  if (after.has_samples) {
    if (!FillWithSamples(tensor, after.layout)) {
      Fail(absl::StrCat("samples written by ", call.name,
                        " into a tensor that has none"));
    }
    return;
  }
  if (after.varies == before.varies) return;
  const bool alone = tensor.has_storage() && tensor.storage().use_count() == 1;
  wrong_guesses_ |= guess;
  if (!alone) StorageOf(tensor).written = true;
  Set(tensor, after);
}

bool SampleTracker::FillWithSamples(const at::Tensor& tensor,
                                    const SampleLayout& layout) {
  const auto known = known_.find(KeyOf(tensor));
  if (known == known_.end() || !tensor.has_storage()) return false;
  if (tensor.storage().use_count() == 1) {
    Set(tensor, SampleFlow{true, layout, 0});
    return true;
  }
  if (known->second.reading != layout) return false;
  const void* storage = StorageKeyOf(tensor);
  for (auto& [key, other] : known_) {
    if (other.storage != storage || other.flow.has_samples) continue;
    if (!other.reading.has_value()) {
      if (other.tensor.expired()) continue;
      return false;
    }
    other.flow = SampleFlow{true, *other.reading, 0};
    other.guess = 0;
  }
  StorageOf(tensor).has_samples = true;
  return true;
}

void SampleTracker::Fail(std::string reason) {
  if (reason_.empty()) reason_ = std::move(reason);
  known_.clear();
  storages_.clear();
}

bool SampleTracker::Proves(const at::Tensor& output) {
  if (!reason_.empty()) return false;
  const std::optional<SampleFlow> flow = Find(output);
  if (!flow.has_value()) {
    Fail("an output that no operator made");
    return false;
  }
  // An output that depends on no sample is the same for each.
  const bool constant = !flow->has_samples && output.dim() >= 1 &&
                        output.size(0) == num_samples_ &&
                        (flow->varies & 1) == 0;
  if (constant || (flow->has_samples && flow->layout == SampleLayout())) {
    return true;
  }
  Fail("an output whose rows are not the samples");
  return false;
}

std::optional<SampleAxis> SampleTracker::Axis(const at::Tensor& tensor,
                                              uint64_t* guess) const {
  *guess = 0;
  if (!reason_.empty()) return std::nullopt;
  const std::optional<SampleFlow> flow = Find(tensor);
  if (!flow.has_value()) return std::nullopt;
  if (flow->has_samples) return AxisOf(flow->layout);
  const auto known = known_.find(KeyOf(tensor));
  if (known == known_.end() || !known->second.reading.has_value()) {
    return std::nullopt;
  }
  *guess = known->second.guess;
  return AxisOf(*known->second.reading);
}

bool SampleTracker::IsWithoutSamples(const at::Tensor& tensor) const {
  if (!reason_.empty()) return false;
  const std::optional<SampleFlow> flow = Find(tensor);
  return flow.has_value() && !flow->has_samples;
}

std::optional<SampleFlow> SampleTracker::Find(const at::Tensor& tensor) const {
  const auto storage = storages_.find(StorageKeyOf(tensor));
  const auto known = known_.find(KeyOf(tensor));
  SampleFlow flow;
  if (known != known_.end()) {
    flow = known->second.flow;
  } else {
    if (storage != storages_.end() && storage->second.has_samples) {
      return std::nullopt;
    }
    flow.varies = AllVary(tensor.sizes());
  }
  if (!flow.has_samples && storage != storages_.end() &&
      storage->second.written) {
    flow.varies = AllVary(tensor.sizes());
  }
  return flow;
}

SampleFlow SampleTracker::FlowOf(const at::Tensor& tensor, bool read) const {
  if (read) {
    const auto known = known_.find(KeyOf(tensor));
    if (known != known_.end() && known->second.reading.has_value()) {
      return SampleFlow{true, *known->second.reading, 0};
    }
  }
  return Find(tensor).value_or(SampleFlow());
}

SampleTracker::Storage& SampleTracker::StorageOf(const at::Tensor& tensor) {
  return storages_
      .try_emplace(StorageKeyOf(tensor),
                   Storage{tensor.storage().getWeakStorageImpl()})
      .first->second;
}

void SampleTracker::Set(const at::Tensor& tensor, const SampleFlow& flow,
                        std::optional<SampleLayout> reading, uint64_t guess) {
  known_.insert_or_assign(
      KeyOf(tensor),
      Known{c10::weak_intrusive_ptr<c10::TensorImpl>(tensor.getIntrusivePtr()),
            StorageKeyOf(tensor), flow, reading, guess});
  if (flow.has_samples && tensor.has_storage()) {
    StorageOf(tensor).has_samples = true;
  }
}

}  // namespace influence
