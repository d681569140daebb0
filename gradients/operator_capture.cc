// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/operator_capture.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/core/dispatch/Dispatcher.h"
#include "ATen/core/ivalue.h"
#include "ATen/ops/empty.h"
#include "ATen/record_function.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "gradients/layer_rule.h"
#include "gradients/layer_rule_registry.h"
#include "gradients/model.h"
#include "gradients/sample_tracker.h"
#include "torch/csrc/autograd/variable.h"

namespace influence {
namespace {

// The capture that records on this thread. RecordFunction's callbacks are plain
// function pointers without a closure.
thread_local OperatorCapture* active_capture = nullptr;

const void* StorageKey(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.has_storage()) return nullptr;
  return tensor.storage().unsafeGetStorageImpl();
}

// The number of elements from a view's first to behind its last one.
int64_t Extent(const at::Tensor& tensor) {
  if (tensor.numel() == 0) return 0;
  int64_t last = 0;
  for (int64_t d = 0; d < tensor.dim(); ++d) {
    last += (tensor.size(d) - 1) * tensor.stride(d);
  }
  return last + 1;
}

template <typename Visitor>
void ForEachTensor(const c10::IValue& value, const Visitor& visit) {
  if (value.isTensor()) {
    visit(value.toTensor());
  } else if (value.isTensorList()) {
    for (const at::Tensor& tensor : value.toTensorVector()) visit(tensor);
  } else if (value.isOptionalTensorList()) {
    for (const auto& element : value.toListRef()) {
      if (element.isTensor()) visit(element.toTensor());
    }
  }
}

// The call's own values: the TorchScript interpreter hands over its whole
// stack, on which other values may wait below those of the call.
c10::ArrayRef<const c10::IValue> Last(c10::ArrayRef<const c10::IValue> values,
                                      size_t count) {
  return values.size() <= count ? values
                                : values.slice(values.size() - count, count);
}

// What of an operator's arguments decides whether it draws random numbers.
struct Randomness {
  bool draws = false;  // LibTorch's tag says that it may.
  // It does not where one of these is false or zero.
  std::vector<size_t> training, probability;
};

// By the schema's own name, whose address tells overloads apart.
const Randomness& RandomnessOf(const at::RecordFunction& function) {
  static thread_local auto& known =
      *new absl::flat_hash_map<const char*, Randomness>();
  const auto [entry, inserted] = known.try_emplace(function.name());
  if (!inserted) return entry->second;
  const auto name = function.operator_name();
  if (!name.has_value()) return entry->second;
  const auto handle = c10::Dispatcher::singleton().findSchema(*name);
  if (!handle.has_value()) return entry->second;
  for (const at::Tag tag : handle->getTags()) {
    if (tag == at::Tag::nondeterministic_seeded) entry->second.draws = true;
  }
  const auto& arguments = handle->schema().arguments();
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i].name();
    if (argument == "train" || argument == "training") {
      entry->second.training.push_back(i);
    } else if (argument == "p" || argument == "dropout" ||
               argument == "dropout_p") {
      entry->second.probability.push_back(i);
    }
  }
  return entry->second;
}

bool DrawsRandomNumbers(const at::RecordFunction& function,
                        c10::ArrayRef<const c10::IValue> inputs) {
  const Randomness& randomness = RandomnessOf(function);
  if (!randomness.draws) return false;
  for (const size_t i : randomness.training) {
    if (i < inputs.size() && inputs[i].isBool() && !inputs[i].toBool()) {
      return false;
    }
  }
  for (const size_t i : randomness.probability) {
    if (i < inputs.size() && inputs[i].isDouble() &&
        inputs[i].toDouble() == 0) {
      return false;
    }
  }
  return true;
}

// Why this call couples samples or draws random numbers; empty if it does not,
// as far as the call alone shows.
std::string Coupling(const at::RecordFunction& function,
                     c10::ArrayRef<const c10::IValue> inputs) {
  std::string name = function.name();
  if (DrawsRandomNumbers(function, inputs)) return name;
  if (name == "aten::batch_norm" && inputs.size() > 5 && inputs[5].isBool() &&
      inputs[5].toBool()) {
    return name + " with batch statistics";
  }
  return std::string();
}

std::vector<at::Tensor> OutputsOf(const at::RecordFunction& function) {
  std::vector<at::Tensor> outputs;
  const std::vector<c10::IValue>& stack = function.outputs();
  for (const c10::IValue& output :
       Last(c10::ArrayRef<const c10::IValue>(stack.data(), stack.size()),
            function.num_outputs())) {
    ForEachTensor(output,
                  [&](const at::Tensor& tensor) { outputs.push_back(tensor); });
  }
  return outputs;
}

}  // namespace

bool CapturedUse::ValuesModified() const {
  for (size_t i = 0; i < value_arguments.size(); ++i) {
    const at::Tensor& tensor = call.inputs[value_arguments[i]].toTensor();
    if (tensor._version() != value_versions[i]) return true;
  }
  return false;
}

// What is kept from a call's start to its end.
struct OperatorCapture::Call : public at::ObserverContext {
  OperatorCapture* capture;
  std::unique_ptr<SampleTracker::Call> followed;  // Null if it is not.
  bool uses_parameters = false;
  bool couples = false;             // Noted as a coupling operator.
  const LayerRule* rule = nullptr;  // Null if none knows the operator.
  OperatorCall call;
  std::vector<size_t> covered;            // Positions that the rule covers.
  std::vector<ParameterArgument> others;  // That no rule can cover.
  int64_t events_before = 0;
};

// LibTorch swallows what a callback throws, so nothing may leave these.
struct OperatorCapture::Callbacks {
  static std::unique_ptr<at::ObserverContext> Start(
      const at::RecordFunction& function) {
    OperatorCapture* capture = active_capture;
    if (capture == nullptr) return nullptr;
    // Callbacks look at tensors by operators of their own.
    at::DisableRecordFunctionGuard guard;
    const c10::ArrayRef<const c10::IValue> inputs =
        Last(function.inputs(), function.num_inputs());
    auto context = std::make_unique<Call>();
    context->capture = capture;
    if (capture->tracker_ != nullptr) {
      try {
        context->followed = capture->tracker_->Start(function.name(), inputs);
      } catch (...) {
        capture->tracker_->Fail(FailureIn(function));
      }
    }
    if (capture->inside_known_ == 0) {
      std::string coupling = Coupling(function, inputs);
      if (!coupling.empty() && capture->inside_coupling_ == 0) {
        capture->coupling_operators_.push_back(std::move(coupling));
        context->couples = true;
        ++capture->inside_coupling_;
      }
      StartUse(function.name(), inputs, context.get());
    }
    if (context->followed == nullptr && !context->uses_parameters &&
        !context->couples) {
      return nullptr;
    }
    return context;
  }

  static void End(const at::RecordFunction& function,
                  at::ObserverContext* context) {
    if (context == nullptr) return;
    auto* call = static_cast<Call*>(context);
    OperatorCapture* capture = call->capture;
    if (call->rule != nullptr) --capture->inside_known_;
    if (call->couples) --capture->inside_coupling_;
    if (capture != active_capture) return;
    at::DisableRecordFunctionGuard guard;
    const std::vector<at::Tensor> outputs = OutputsOf(function);
    if (call->followed != nullptr) {
      try {
        capture->tracker_->End(*call->followed, outputs);
      } catch (...) {
        capture->tracker_->Fail(FailureIn(function));
      }
    }
    if (!call->uses_parameters) return;
    try {
      EndUse(outputs, call);
    } catch (...) {
      UncoverAll(call, FailureIn(function));
    }
  }

 private:
  static std::string FailureIn(const at::RecordFunction& function) {
    return std::string(StatusFromCurrentException(function.name()).message());
  }

  static void Uncover(Call* call, const ParameterArgument& argument,
                      const std::string& failure = "") {
    ++call->capture->num_events_;
    call->capture->uncovered_uses_.push_back(
        UncoveredUse{argument.parameter, call->call.name, failure});
  }

  static void UncoverAll(Call* call, const std::string& failure = "") {
    for (const ParameterArgument& argument : call->call.parameters) {
      Uncover(call, argument, failure);
    }
    for (const ParameterArgument& argument : call->others) {
      Uncover(call, argument, failure);
    }
  }

  // Whether, and as what, the call uses parameters.
  static void StartUse(absl::string_view name,
                       c10::ArrayRef<const c10::IValue> inputs, Call* context) {
    OperatorCapture* capture = context->capture;
    for (size_t i = 0; i < inputs.size(); ++i) {
      ForEachTensor(inputs[i], [&](const at::Tensor& tensor) {
        capture->FindParameters(tensor, i, &context->call.parameters,
                                &context->others);
      });
    }
    if (context->call.parameters.empty() && context->others.empty()) return;
    context->uses_parameters = true;
    context->events_before = capture->num_events_;
    context->call.name = std::string(name);
    const LayerRule* rule = capture->registry_.Find(name);
    if (rule == nullptr) return;
    context->call.inputs.assign(inputs.begin(), inputs.end());
    try {
      context->covered = rule->CoveredArguments(context->call);
      // Now: a call in place gives its tensor another place in the graph.
      if (!context->covered.empty()) {
        context->call.producers = capture->Producers(inputs);
      }
    } catch (...) {
      // The call's parts are looked at, as for an operator without a rule.
      context->covered.clear();
    }
    if (context->covered.empty()) {
      context->call.inputs.clear();
      return;
    }
    context->rule = rule;
    ++capture->inside_known_;
  }

  static void EndUse(const std::vector<at::Tensor>& all_outputs, Call* call) {
    OperatorCapture* capture = call->capture;
    // An output that requires grad and is not itself a view of a parameter is
    // where the parameters enter the graph.
    std::vector<at::Tensor> outputs;
    for (const at::Tensor& tensor : all_outputs) {
      if (!tensor.defined() || !tensor.requires_grad()) continue;
      if (capture->by_storage_.contains(StorageKey(tensor))) continue;
      outputs.push_back(tensor);
    }
    if (outputs.empty()) return;
    if (call->rule == nullptr) {
      // Its parts were recorded, if it has any that touch parameters.
      if (capture->num_events_ == call->events_before) UncoverAll(call);
      return;
    }
    // Rules know real gradients of one output.
    if (outputs.size() != 1 || outputs[0].is_complex()) {
      UncoverAll(call);
      return;
    }
    for (const ParameterArgument& argument : call->others) {
      Uncover(call, argument);
    }
    std::vector<ParameterArgument> covered;
    for (const ParameterArgument& argument : call->call.parameters) {
      if (std::find(call->covered.begin(), call->covered.end(),
                    argument.position) != call->covered.end()) {
        covered.push_back(argument);
      } else {
        Uncover(call, argument);
      }
    }
    call->call.parameters = std::move(covered);
    call->call.output_shape = outputs[0].sizes().vec();
    ++capture->num_events_;
    Record(outputs[0], call);
  }

  // Appends a use, or a derived parameter.
  static void Record(const at::Tensor& output, Call* call) {
    OperatorCapture* capture = call->capture;
    if (call->rule->name() == "embedding" && capture->tracker_ != nullptr &&
        capture->tracker_->IsWithoutSamples(output)) {
      capture->AddParameter(output,
                            capture->num_parameters_ +
                                static_cast<int64_t>(capture->derived_.size()));
      capture->derived_.push_back(
          DerivedParameter{std::move(call->call), output});
      return;
    }
    CapturedUse use;
    use.rule = call->rule;
    if (capture->tracker_ != nullptr) {
      use.axis = capture->tracker_->Axis(output, &use.axis_guess);
    }
    use.value_arguments = use.rule->ValueArguments(call->call);
    for (const size_t position : use.value_arguments) {
      use.value_versions.push_back(
          call->call.inputs[position].toTensor()._version());
    }
    // The data of the stand-in is never read: one element will do.
    const torch::autograd::Edge edge =
        torch::autograd::impl::gradient_edge(output);
    use.output_handle = torch::autograd::make_variable(
        at::empty({1}, output.options().requires_grad(false)), edge);
    // The handle keeps the node alive, so that no other gets its address.
    capture->use_by_edge_[Edge(edge.function.get(), edge.input_nr)] =
        static_cast<int64_t>(capture->uses_.size());
    use.call = std::move(call->call);
    capture->uses_.push_back(std::move(use));
  }
};

OperatorCapture::OperatorCapture(const std::vector<NamedParameter>& parameters,
                                 SampleTracker* tracker,
                                 const LayerRuleRegistry& registry)
    : registry_(registry),
      num_parameters_(static_cast<int64_t>(parameters.size())),
      tracker_(tracker) {
  for (size_t i = 0; i < parameters.size(); ++i) {
    AddParameter(parameters[i].tensor, static_cast<int64_t>(i));
  }
}

void OperatorCapture::AddParameter(const at::Tensor& tensor,
                                   int64_t parameter) {
  const int64_t begin = tensor.storage_offset();
  by_storage_[StorageKey(tensor)].push_back(
      Range{begin, begin + Extent(tensor), parameter, tensor.is_contiguous()});
}

void OperatorCapture::FindParameters(
    const at::Tensor& tensor, size_t position,
    std::vector<ParameterArgument>* found,
    std::vector<ParameterArgument>* others) const {
  const void* key = StorageKey(tensor);
  // A view that does not require grad was detached: nothing flows through it.
  if (key == nullptr || !tensor.requires_grad()) return;
  const auto ranges = by_storage_.find(key);
  if (ranges == by_storage_.end()) return;
  const int64_t begin = tensor.storage_offset();
  const int64_t end = begin + Extent(tensor);
  for (const Range& range : ranges->second) {
    if (begin >= range.end || range.begin >= end) continue;
    const bool within =
        range.contiguous && range.begin <= begin && end <= range.end;
    (within ? found : others)
        ->push_back(
            ParameterArgument{position, range.parameter, begin - range.begin});
  }
}

std::vector<int64_t> OperatorCapture::Producers(
    c10::ArrayRef<const c10::IValue> inputs) const {
  at::DisableRecordFunctionGuard guard;
  std::vector<int64_t> producers(inputs.size(), -1);
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].isTensor()) continue;
    const at::Tensor& tensor = inputs[i].toTensor();
    if (!tensor.defined() || !tensor.requires_grad() || tensor.is_leaf()) {
      continue;
    }
    const torch::autograd::Edge edge =
        torch::autograd::impl::gradient_edge(tensor);
    const auto use =
        use_by_edge_.find(Edge(edge.function.get(), edge.input_nr));
    if (use != use_by_edge_.end()) producers[i] = use->second;
  }
  return producers;
}

OperatorCapture::Scope::Scope(OperatorCapture* capture) {
  INFLUENCE_CHECK(active_capture == nullptr);
  active_capture = capture;
  callback_ = at::addThreadLocalCallback(
      at::RecordFunctionCallback(&Callbacks::Start, &Callbacks::End)
          .needsInputs(true)
          .needsOutputs(true)
          .scopes({at::RecordScope::FUNCTION}));
}

OperatorCapture::Scope::~Scope() {
  at::removeCallback(callback_);
  active_capture = nullptr;
}

}  // namespace influence
