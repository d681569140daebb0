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
#include "ATen/core/ivalue.h"
#include "ATen/ops/empty.h"
#include "ATen/record_function.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "gradients/layer_rule.h"
#include "gradients/layer_rule_registry.h"
#include "gradients/model.h"
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

bool IsTrue(const c10::ArrayRef<const c10::IValue>& inputs, size_t position) {
  return position < inputs.size() && inputs[position].isBool() &&
         inputs[position].toBool();
}

double NumberOrZero(const c10::ArrayRef<const c10::IValue>& inputs,
                    size_t position) {
  if (position >= inputs.size() || !inputs[position].isDouble()) return 0;
  return inputs[position].toDouble();
}

// Why this call couples samples or draws random numbers; empty if it does not.
std::string Coupling(absl::string_view name,
                     const c10::ArrayRef<const c10::IValue>& inputs) {
  std::string text(name);
  if (name == "aten::dropout" || name == "aten::feature_dropout" ||
      name == "aten::alpha_dropout" || name == "aten::feature_alpha_dropout" ||
      name == "aten::native_dropout") {
    if (IsTrue(inputs, 2) && NumberOrZero(inputs, 1) > 0) return text;
  }
  if (name == "aten::batch_norm" && IsTrue(inputs, 5)) {
    return text + " with batch statistics";
  }
  if (name == "aten::scaled_dot_product_attention" &&
      NumberOrZero(inputs, 4) > 0) {
    return text + " with dropout";
  }
  return std::string();
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
  const LayerRule* rule = nullptr;  // Null if none knows the operator.
  OperatorCall call;
  std::vector<size_t> covered;            // Positions that the rule covers.
  std::vector<ParameterArgument> others;  // That no rule can cover.
  int64_t events_before = 0;
};

struct OperatorCapture::Callbacks {
  static std::unique_ptr<at::ObserverContext> Start(
      const at::RecordFunction& function) {
    OperatorCapture* capture = active_capture;
    if (capture == nullptr || capture->inside_known_ > 0) return nullptr;
    const c10::ArrayRef<const c10::IValue> inputs =
        Last(function.inputs(), function.num_inputs());
    const absl::string_view name = function.name();
    std::string coupling = Coupling(name, inputs);
    if (!coupling.empty()) {
      capture->coupling_operators_.push_back(std::move(coupling));
    }

    std::vector<ParameterArgument> parameters, others;
    for (size_t i = 0; i < inputs.size(); ++i) {
      ForEachTensor(inputs[i], [&](const at::Tensor& tensor) {
        capture->FindParameters(tensor, i, &parameters, &others);
      });
    }
    if (parameters.empty() && others.empty()) return nullptr;

    auto context = std::make_unique<Call>();
    context->capture = capture;
    context->events_before = capture->num_events_;
    context->call.name = std::string(name);
    context->call.parameters = std::move(parameters);
    context->others = std::move(others);
    const LayerRule* rule = capture->registry_.Find(name);
    if (rule != nullptr) {
      context->call.inputs.assign(inputs.begin(), inputs.end());
      context->covered = rule->CoveredArguments(context->call);
      if (context->covered.empty()) {
        context->call.inputs.clear();
      } else {
        context->rule = rule;
        // Now: a call in place gives its tensor another place in the graph.
        context->call.producers = capture->Producers(inputs);
        ++capture->inside_known_;
      }
    }
    return context;
  }

  static void End(const at::RecordFunction& function,
                  at::ObserverContext* context) {
    if (context == nullptr) return;
    auto* call = static_cast<Call*>(context);
    OperatorCapture* capture = call->capture;
    if (call->rule != nullptr) --capture->inside_known_;
    if (capture != active_capture) return;
    at::DisableRecordFunctionGuard guard;

    // An output that requires grad and is not itself a view of a parameter is
    // where the parameters enter the graph.
    std::vector<at::Tensor> outputs;
    const std::vector<c10::IValue>& stack = function.outputs();
    for (const c10::IValue& output :
         Last(c10::ArrayRef<const c10::IValue>(stack.data(), stack.size()),
              function.num_outputs())) {
      ForEachTensor(output, [&](const at::Tensor& tensor) {
        if (!tensor.defined() || !tensor.requires_grad()) return;
        if (capture->by_storage_.contains(StorageKey(tensor))) return;
        outputs.push_back(tensor);
      });
    }
    if (outputs.empty()) return;

    const auto uncover = [&](const ParameterArgument& argument) {
      ++capture->num_events_;
      capture->uncovered_uses_.push_back(
          UncoveredUse{argument.parameter, call->call.name});
    };
    if (call->rule == nullptr) {
      // Its parts were recorded, if it has any that touch parameters.
      if (capture->num_events_ != call->events_before) return;
      for (const ParameterArgument& argument : call->call.parameters) {
        uncover(argument);
      }
      for (const ParameterArgument& argument : call->others) uncover(argument);
      return;
    }
    for (const ParameterArgument& argument : call->others) uncover(argument);
    if (outputs.size() != 1) {
      for (const ParameterArgument& argument : call->call.parameters) {
        uncover(argument);
      }
      return;
    }
    std::vector<ParameterArgument> covered;
    for (const ParameterArgument& argument : call->call.parameters) {
      if (std::find(call->covered.begin(), call->covered.end(),
                    argument.position) != call->covered.end()) {
        covered.push_back(argument);
      } else {
        uncover(argument);
      }
    }
    call->call.parameters = std::move(covered);
    call->call.output_shape = outputs[0].sizes().vec();
    ++capture->num_events_;

    const std::vector<int64_t>& derived = capture->derived_embeddings_;
    if (call->rule->name() == "embedding" &&
        std::find(derived.begin(), derived.end(), capture->num_embeddings_++) !=
            derived.end()) {
      capture->AddParameter(outputs[0],
                            capture->num_parameters_ +
                                static_cast<int64_t>(capture->derived_.size()));
      capture->derived_.push_back(
          DerivedParameter{std::move(call->call), outputs[0]});
      return;
    }

    CapturedUse use;
    use.rule = call->rule;
    use.value_arguments = use.rule->ValueArguments(call->call);
    for (const size_t position : use.value_arguments) {
      use.value_versions.push_back(
          call->call.inputs[position].toTensor()._version());
    }
    // The data of the stand-in is never read: one element will do.
    const torch::autograd::Edge edge =
        torch::autograd::impl::gradient_edge(outputs[0]);
    use.output_handle = torch::autograd::make_variable(
        at::empty({1}, outputs[0].options().requires_grad(false)), edge);
    // The handle keeps the node alive, so that no other gets its address.
    capture->use_by_edge_[Edge(edge.function.get(), edge.input_nr)] =
        static_cast<int64_t>(capture->uses_.size());
    use.call = std::move(call->call);
    capture->uses_.push_back(std::move(use));
  }
};

OperatorCapture::OperatorCapture(const std::vector<NamedParameter>& parameters,
                                 const std::vector<int64_t>& derived_embeddings,
                                 const LayerRuleRegistry& registry)
    : registry_(registry),
      num_parameters_(static_cast<int64_t>(parameters.size())),
      derived_embeddings_(derived_embeddings) {
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
