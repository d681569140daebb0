// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A layer rule turns one call of an operator that uses trainable parameters
// into the factored per-sample gradients of those parameters, given the
// gradient of the call's output. Rules live in gradients/rules/, one file each;
// layer_rule_registry.h lists them.
#ifndef INFLUENCE_GRADIENTS_LAYER_RULE_H_
#define INFLUENCE_GRADIENTS_LAYER_RULE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/core/ivalue.h"
#include "absl/strings/string_view.h"
#include "gradients/gradient_term.h"
#include "gradients/sample_axis.h"

namespace influence {

// An argument of an operator that is a trainable parameter or a view of one.
struct ParameterArgument {
  size_t position;    // In OperatorCall::inputs.
  int64_t parameter;  // Index into Model::parameters().
  int64_t offset;     // Of the view's first element, in the parameter's storage
                      // order, which is row-major.
};

// One observed call of an operator.
struct OperatorCall {
  std::string name;                 // "aten::addmm".
  std::vector<c10::IValue> inputs;  // In the order of the operator's schema.
  std::vector<ParameterArgument> parameters;
  std::vector<int64_t> output_shape;
  // For each input the index, in the order of the captured uses, of the use
  // whose output the input is, unchanged; -1 for other inputs.
  std::vector<int64_t> producers;
};

// A call that is a layer: out = W a (+ b) at each of a sample's positions,
// `groups` of such products side by side.
struct AffineCall {
  size_t weight;            // Position of W in OperatorCall::inputs.
  int64_t groups;           // H
  int64_t outputs, inputs;  // Of one group: O and I.
  // The view of the parameter is H matrices [I, O], not [O, I].
  bool input_major;
  // The shape, with as many dimensions as the output, that one value an output
  // has: [1, O] for an output [N, O], [1, H * O, 1] for one [N, H * O, T].
  std::vector<int64_t> bias_shape;
  // Position of a bias that the same call adds, unscaled.
  std::optional<size_t> bias;
};

// A call that is a sum, operand + bias, of the bias_shape given above.
struct AdditionCall {
  size_t bias, operand;  // Positions in OperatorCall::inputs.
  std::vector<int64_t> bias_shape;
};

// The term of one parameter that a call contributes.
struct ParameterTerm {
  int64_t parameter;  // Index into Model::parameters().
  std::shared_ptr<const GradientTerm> term;
};

// Stateless and thread-safe.
class LayerRule {
 public:
  virtual ~LayerRule() = default;

  // As the coverage report shows it: "linear".
  virtual absl::string_view name() const = 0;

  // The operators the rule understands: "aten::addmm".
  virtual std::vector<std::string> operators() const = 0;

  // The positions (OperatorCall::inputs) of the parameter arguments whose
  // gradients the rule gives for this call; those left out are not covered.
  virtual std::vector<size_t> CoveredArguments(
      const OperatorCall& call) const = 0;

  // The positions of the tensor arguments whose values Terms() reads, so that
  // the caller can tell if they were modified since the call.
  virtual std::vector<size_t> ValueArguments(
      const OperatorCall& call) const = 0;

  // Whether the samples may lie at `axis` of the call's output.
  virtual bool SupportsAxis(const OperatorCall& call,
                            const SampleAxis& axis) const = 0;

  // The terms of the covered arguments. output_gradient: the gradient of
  // sum_n l_n in the call's output, of its shape; axis: where the N samples lie
  // in it. Runs without autograd; throws c10::Error on a LibTorch failure.
  virtual std::vector<ParameterTerm> Terms(const OperatorCall& call,
                                           const at::Tensor& output_gradient,
                                           const SampleAxis& axis,
                                           int64_t num_samples) const = 0;

  // The call, whose output_shape is known, as a layer or as a sum with a
  // parameter; nullopt for calls that are not. Where it is a layer, Terms()
  // gives for its weight one OuterProductTerm of H groups with inputs and
  // output gradients as factors: left [N, H, T, O], right [N, H, T, I], or left
  // the inputs and right the gradients if input_major.
  virtual std::optional<AffineCall> AsAffine(const OperatorCall&) const {
    return std::nullopt;
  }
  virtual std::optional<AdditionCall> AsAddition(const OperatorCall&) const {
    return std::nullopt;
  }
};

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_LAYER_RULE_H_
