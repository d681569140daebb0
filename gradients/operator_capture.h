// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Observes the operators that a model calls on the current thread and records
// each use of a trainable parameter.
//
//   OperatorCapture capture(model.parameters());
//   {
//     OperatorCapture::Scope scope(&capture);
//     output = model.Forward(x);
//   }
//   for (const CapturedUse& use : capture.uses()) ...
//
// A parameter is recognised by its storage, so that views of it (a transpose, a
// third of a fused weight) count as the parameter. Operators made of other
// operators are recorded once: where a rule knows the outer one, what it calls
// is not looked at; where none does, its parts are.
#ifndef INFLUENCE_GRADIENTS_OPERATOR_CAPTURE_H_
#define INFLUENCE_GRADIENTS_OPERATOR_CAPTURE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/container/flat_hash_map.h"
#include "gradients/layer_rule.h"
#include "gradients/layer_rule_registry.h"
#include "gradients/model.h"
#include "gradients/sample_axis.h"
#include "gradients/sample_tracker.h"

namespace influence {

// A call that a rule serves.
struct CapturedUse {
  const LayerRule* rule;
  OperatorCall call;
  // A stand-in that holds the output's place in the autograd graph as it was
  // right after the call, whatever is done to the output in place later:
  // torch::autograd::grad() with respect to it gives the output's gradient.
  at::Tensor output_handle;
  // The arguments the rule will read and their versions at the call.
  std::vector<size_t> value_arguments;
  std::vector<uint32_t> value_versions;
  // Where the samples lie in the output; nullopt without a SampleTracker, and
  // where it does not tell.
  std::optional<SampleAxis> axis;
  uint64_t axis_guess = 0;  // SampleTracker::Holds() says if `axis` is right.

  // Whether an argument that the rule reads was modified since the call.
  bool ValuesModified() const;
};

// An embedding of constant indices (positions), whose output is the same for
// every sample, as a SampleTracker tells. Its output counts as a parameter from
// then on, so that the operator that joins it to the samples gives its
// per-sample gradients.
struct DerivedParameter {
  OperatorCall call;  // The embedding.
  at::Tensor output;
};

// A use of a parameter that no rule serves.
struct UncoveredUse {
  int64_t parameter;
  std::string operator_name;
  std::string failure;  // What a rule threw; empty where there is none.
};

// Not thread-safe; an object is used on one thread. Objects on different
// threads do not see each other.
class OperatorCapture {
 public:
  // Borrows `parameters` and `tracker`, which must outlive this object;
  // `tracker` follows the samples from here on and may be null.
  explicit OperatorCapture(
      const std::vector<NamedParameter>& parameters,
      SampleTracker* tracker = nullptr,
      const LayerRuleRegistry& registry = LayerRuleRegistry::Default());
  OperatorCapture(const OperatorCapture&) = delete;
  OperatorCapture& operator=(const OperatorCapture&) = delete;

  // Records while it exists. Scopes on one thread do not nest.
  class Scope {
   public:
    explicit Scope(OperatorCapture* capture);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    uint64_t callback_;
  };

  // In the order of the calls, without those that became derived parameters.
  std::vector<CapturedUse>& uses() { return uses_; }

  // Derived parameter i has the parameter index parameters.size() + i.
  std::vector<DerivedParameter>& derived() { return derived_; }

  const std::vector<UncoveredUse>& uncovered_uses() const {
    return uncovered_uses_;
  }

  // Operators that draw random numbers or take the batch's statistics as called
  // ("aten::dropout", "aten::batch_norm with batch statistics"). Chance is what
  // LibTorch tags as such, unless an argument switches it off.
  const std::vector<std::string>& coupling_operators() const {
    return coupling_operators_;
  }

 private:
  struct Call;
  struct Callbacks;

  // A place in the autograd graph: a node and the number of its output.
  using Edge = std::pair<const void*, uint32_t>;

  struct Range {  // A parameter's place in its storage, in elements.
    int64_t begin, end;
    int64_t parameter;
    bool contiguous;
  };

  void AddParameter(const at::Tensor& tensor, int64_t parameter);

  // Appends the parameters that `tensor` at `position` is a differentiable view
  // of: to `found` where it lies within one row-major parameter, which is what
  // rules understand, to `others` otherwise.
  void FindParameters(const at::Tensor& tensor, size_t position,
                      std::vector<ParameterArgument>* found,
                      std::vector<ParameterArgument>* others) const;

  // OperatorCall::producers of a call with these inputs.
  std::vector<int64_t> Producers(c10::ArrayRef<const c10::IValue> inputs) const;

  const LayerRuleRegistry& registry_;
  const int64_t num_parameters_;  // Number of tensors, not of scalars.
  SampleTracker* const tracker_;  // Borrowed, may be null.
  absl::flat_hash_map<const void*, std::vector<Range>> by_storage_;
  absl::flat_hash_map<Edge, int64_t> use_by_edge_;  // Whose output it is.
  std::vector<CapturedUse> uses_;
  std::vector<DerivedParameter> derived_;
  std::vector<UncoveredUse> uncovered_uses_;
  std::vector<std::string> coupling_operators_;
  int64_t num_events_ = 0;    // Uses of any kind so far.
  int64_t inside_known_ = 0;  // Nesting depth below a call that a rule knows.
  int64_t inside_coupling_ = 0;  // Likewise of one that couples samples.
};

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_OPERATOR_CAPTURE_H_
