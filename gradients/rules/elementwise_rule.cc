// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/rules/elementwise_rule.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/mul.h"
#include "gradients/gradient_term.h"
#include "gradients/layer_rule.h"
#include "gradients/parameter_view.h"
#include "gradients/sample_axis.h"

namespace influence {
namespace {

bool IsProduct(const OperatorCall& call) { return call.name == "aten::mul"; }

bool IsDifference(const OperatorCall& call) {
  return call.name == "aten::sub" || call.name == "aten::sub_";
}

}  // namespace

std::vector<std::string> ElementwiseRule::operators() const {
  // mul_ overwrites the value its gradient needs; it has no rule.
  return {"aten::mul", "aten::add", "aten::add_", "aten::sub", "aten::sub_"};
}

std::vector<size_t> ElementwiseRule::CoveredArguments(
    const OperatorCall& call) const {
  // Both sides parameters: there is no sample in it.
  if (call.parameters.size() != 1) return {};
  const size_t position = call.parameters[0].position;
  if (position > 1 || !call.inputs[1 - position].isTensor()) return {};
  return {position};
}

std::vector<size_t> ElementwiseRule::ValueArguments(
    const OperatorCall& call) const {
  if (!IsProduct(call)) return {};
  return {1 - call.parameters[0].position};
}

bool ElementwiseRule::SupportsAxis(const OperatorCall& call,
                                   const SampleAxis& axis) const {
  const auto shape = BroadcastShape(
      call.inputs[call.parameters[0].position].toTensor(), call.output_shape);
  return shape.has_value() && (*shape)[axis.dim] == 1;
}

std::vector<ParameterTerm> ElementwiseRule::Terms(
    const OperatorCall& call, const at::Tensor& output_gradient,
    const SampleAxis& axis, int64_t num_samples) const {
  const ParameterArgument& argument = call.parameters[0];
  const auto shape = BroadcastShape(call.inputs[argument.position].toTensor(),
                                    output_gradient.sizes());
  at::Tensor product = output_gradient;
  if (IsProduct(call)) {
    product = at::mul(product,
                      call.inputs[1 - argument.position].toTensor().detach());
  }
  at::Tensor sums = SumToParameter(product, *shape, axis, num_samples);
  if (!IsProduct(call)) {
    // add and sub scale their second argument by alpha.
    double factor = argument.position == 1 && call.inputs.size() > 2
                        ? call.inputs[2].toScalar().toDouble()
                        : 1;
    if (IsDifference(call) && argument.position == 1) factor = -factor;
    if (factor != 1) sums = at::mul(sums, factor);
  }
  return {ParameterTerm{argument.parameter,
                        std::make_shared<DenseTerm>(argument.offset, sums)}};
}

std::optional<AdditionCall> ElementwiseRule::AsAddition(
    const OperatorCall& call) const {
  if (IsProduct(call) || IsDifference(call)) return std::nullopt;
  if (call.parameters.size() != 1) return std::nullopt;
  // add scales its second argument by alpha.
  if (call.inputs.size() > 2 && call.inputs[2].toScalar().toDouble() != 1) {
    return std::nullopt;
  }
  const size_t bias = call.parameters[0].position;
  if (bias > 1) return std::nullopt;
  std::optional<std::vector<int64_t>> shape =
      BroadcastShape(call.inputs[bias].toTensor(), call.output_shape);
  if (!shape.has_value()) return std::nullopt;
  return AdditionCall{bias, 1 - bias, *std::move(shape)};
}

}  // namespace influence
