// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/rules/normalization_rule.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/batch_norm.h"
#include "ATen/ops/group_norm.h"
#include "ATen/ops/instance_norm.h"
#include "ATen/ops/layer_norm.h"
#include "ATen/ops/mul.h"
#include "absl/strings/string_view.h"
#include "gradients/gradient_term.h"
#include "gradients/layer_rule.h"
#include "gradients/sample_axis.h"

namespace influence {
namespace {

constexpr size_t kInput = 0;

// Where scale and bias stand among the arguments, and whether they belong to
// the trailing dimensions of the input or to dimension 1, the channels.
struct Layout {
  size_t scale;
  size_t bias;
  bool trailing;
};

Layout LayoutOf(absl::string_view name) {
  if (name == "aten::layer_norm") return {2, 3, true};
  if (name == "aten::rms_norm") return {2, static_cast<size_t>(-1), true};
  if (name == "aten::group_norm") return {2, 3, false};
  return {1, 2, false};  // batch_norm, instance_norm
}

at::Tensor OptionalTensor(const c10::IValue& value) {
  return value.isTensor() ? value.toTensor().detach() : at::Tensor();
}

// The normalised input before scale and bias.
at::Tensor Normalized(const OperatorCall& call) {
  const at::Tensor x = call.inputs[kInput].toTensor().detach();
  if (call.name == "aten::layer_norm") {
    return at::layer_norm(x, call.inputs[1].toIntVector(), {}, {},
                          call.inputs[4].toDouble());
  }
  if (call.name == "aten::group_norm") {
    return at::group_norm(x, call.inputs[1].toInt(), {}, {},
                          call.inputs[4].toDouble());
  }
  if (call.name == "aten::rms_norm") {
    std::vector<int64_t> dims;
    const int64_t count =
        static_cast<int64_t>(call.inputs[1].toIntVector().size());
    for (int64_t d = 1; d <= count; ++d) dims.push_back(-d);
    const double default_epsilon =
        x.scalar_type() == at::kDouble
            ? std::numeric_limits<double>::epsilon()
            : static_cast<double>(std::numeric_limits<float>::epsilon());
    const double epsilon =
        call.inputs[3].isNone() ? default_epsilon : call.inputs[3].toDouble();
    return at::mul(
        x, x.square().mean(dims, /*keepdim=*/true).add(epsilon).rsqrt());
  }
  if (call.name == "aten::instance_norm") {
    return at::instance_norm(x, {}, {}, OptionalTensor(call.inputs[3]),
                             OptionalTensor(call.inputs[4]),
                             call.inputs[5].toBool(), /*momentum=*/0,
                             call.inputs[7].toDouble(),
                             /*cudnn_enabled=*/false);
  }
  return at::batch_norm(x, {}, {}, OptionalTensor(call.inputs[3]),
                        OptionalTensor(call.inputs[4]), /*training=*/false,
                        /*momentum=*/0, call.inputs[7].toDouble(),
                        /*cudnn_enabled=*/false);
}

}  // namespace

std::vector<std::string> NormalizationRule::operators() const {
  return {"aten::layer_norm", "aten::group_norm", "aten::rms_norm",
          "aten::batch_norm", "aten::instance_norm"};
}

std::vector<size_t> NormalizationRule::CoveredArguments(
    const OperatorCall& call) const {
  // BatchNorm with the batch's own statistics mixes samples.
  if (call.name == "aten::batch_norm" && call.inputs[5].toBool()) return {};
  const Layout layout = LayoutOf(call.name);
  std::vector<size_t> covered;
  for (const ParameterArgument& argument : call.parameters) {
    if (argument.position != layout.scale && argument.position != layout.bias) {
      return {};
    }
    if (call.inputs[argument.position].toTensor().is_contiguous()) {
      covered.push_back(argument.position);
    }
  }
  return covered;
}

std::vector<size_t> NormalizationRule::ValueArguments(
    const OperatorCall&) const {
  return {kInput};
}

bool NormalizationRule::SupportsAxis(const OperatorCall& call,
                                     const SampleAxis& axis) const {
  if (!LayoutOf(call.name).trailing) return axis.dim == 0;
  const int64_t num_normalized =
      static_cast<int64_t>(call.inputs[1].toIntVector().size());
  return axis.dim <
         static_cast<int64_t>(call.output_shape.size()) - num_normalized;
}

std::vector<ParameterTerm> NormalizationRule::Terms(
    const OperatorCall& call, const at::Tensor& output_gradient,
    const SampleAxis& axis, int64_t num_samples) const {
  const Layout layout = LayoutOf(call.name);
  std::vector<ParameterTerm> terms;
  for (const ParameterArgument& argument : call.parameters) {
    std::vector<int64_t> shape(output_gradient.dim(), 1);
    const at::Tensor& parameter = call.inputs[argument.position].toTensor();
    if (layout.trailing) {
      const int64_t missing = output_gradient.dim() - parameter.dim();
      for (int64_t d = 0; d < parameter.dim(); ++d) {
        shape[missing + d] = parameter.size(d);
      }
    } else {
      shape[1] = parameter.numel();
    }
    const at::Tensor product = argument.position == layout.scale
                                   ? at::mul(output_gradient, Normalized(call))
                                   : output_gradient;
    terms.push_back(
        ParameterTerm{argument.parameter,
                      std::make_shared<DenseTerm>(
                          argument.offset,
                          SumToParameter(product, shape, axis, num_samples))});
  }
  return terms;
}

}  // namespace influence
