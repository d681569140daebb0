// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/rules/convolution_rule.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/constant_pad_nd.h"
#include "gradients/gradient_term.h"
#include "gradients/layer_rule.h"
#include "gradients/sample_axis.h"

namespace influence {
namespace {

// Arguments of aten::convolution and aten::_convolution.
constexpr size_t kInput = 0;
constexpr size_t kWeight = 1;
constexpr size_t kBias = 2;

struct Geometry {
  std::vector<int64_t> stride, padding, dilation;
  bool transposed;
  int64_t groups;
};

// One value may stand for all spatial dimensions.
std::vector<int64_t> PerDimension(const c10::IValue& value, int64_t num_dims) {
  std::vector<int64_t> values = value.toIntVector();
  if (values.size() == 1) values.resize(num_dims, values[0]);
  return values;
}

Geometry GeometryOf(const OperatorCall& call) {
  const int64_t num_dims = call.inputs[kWeight].toTensor().dim() - 2;
  return Geometry{PerDimension(call.inputs[3], num_dims),
                  PerDimension(call.inputs[4], num_dims),
                  PerDimension(call.inputs[5], num_dims),
                  call.inputs[6].toBool(), call.inputs[8].toInt()};
}

// The patches of x [B, C, s...] under each of `positions` placements of a
// kernel: [B, groups, C / groups * prod(kernel), prod(positions)], one copy.
at::Tensor Patches(const at::Tensor& x, at::IntArrayRef kernel,
                   at::IntArrayRef positions, const Geometry& geometry) {
  const int64_t num_dims = static_cast<int64_t>(kernel.size());
  at::Tensor padded = x;
  bool any_padding = false;
  std::vector<int64_t> padding;  // Last dimension first, both sides.
  for (int64_t d = num_dims - 1; d >= 0; --d) {
    padding.insert(padding.end(), 2, geometry.padding[d]);
    any_padding = any_padding || geometry.padding[d] != 0;
  }
  if (any_padding) padded = at::constant_pad_nd(x, padding);
  const int64_t batch = x.size(0);
  const int64_t channels = x.size(1) / geometry.groups;
  std::vector<int64_t> sizes = {batch, geometry.groups, channels};
  std::vector<int64_t> strides = {padded.stride(0), padded.stride(1) * channels,
                                  padded.stride(1)};
  int64_t num_kernel = 1, num_positions = 1;
  for (int64_t d = 0; d < num_dims; ++d) {
    sizes.push_back(kernel[d]);
    strides.push_back(padded.stride(2 + d) * geometry.dilation[d]);
    num_kernel *= kernel[d];
  }
  for (int64_t d = 0; d < num_dims; ++d) {
    sizes.push_back(positions[d]);
    strides.push_back(padded.stride(2 + d) * geometry.stride[d]);
    num_positions *= positions[d];
  }
  return padded.as_strided(sizes, strides, padded.storage_offset())
      .reshape({batch, geometry.groups, channels * num_kernel, num_positions});
}

// [B, groups, F, T] with B = N * repeats -> [N, groups, repeats * T, F].
at::Tensor Factor(const at::Tensor& tensor, const SampleAxis& axis,
                  int64_t num_samples) {
  at::Tensor positions_first = tensor.transpose(2, 3);
  if (axis.repeats == 1) return positions_first;
  const int64_t groups = tensor.size(1), features = tensor.size(2);
  // [N, repeats, groups * T * F]
  const at::Tensor samples =
      SamplesFirst(positions_first, axis, num_samples, 3);
  return samples
      .view({num_samples, axis.repeats, groups, tensor.size(3), features})
      .permute({0, 2, 1, 3, 4})
      .reshape({num_samples, groups, -1, features});
}

}  // namespace

std::vector<std::string> ConvolutionRule::operators() const {
  return {"aten::convolution", "aten::_convolution"};
}

std::vector<size_t> ConvolutionRule::CoveredArguments(
    const OperatorCall& call) const {
  std::vector<size_t> covered;
  for (const ParameterArgument& argument : call.parameters) {
    if ((argument.position == kWeight || argument.position == kBias) &&
        call.inputs[argument.position].toTensor().is_contiguous()) {
      covered.push_back(argument.position);
    } else if (argument.position == kInput) {
      return {};  // A parameter that is convolved has no samples.
    }
  }
  return covered;
}

std::vector<size_t> ConvolutionRule::ValueArguments(
    const OperatorCall& call) const {
  for (const ParameterArgument& argument : call.parameters) {
    if (argument.position == kWeight) return {kInput};
  }
  return {};
}

bool ConvolutionRule::SupportsAxis(const OperatorCall&,
                                   const SampleAxis& axis) const {
  return axis.dim == 0;
}

std::vector<ParameterTerm> ConvolutionRule::Terms(
    const OperatorCall& call, const at::Tensor& output_gradient,
    const SampleAxis& axis, int64_t num_samples) const {
  const Geometry geometry = GeometryOf(call);
  const at::Tensor& weight = call.inputs[kWeight].toTensor();
  const at::IntArrayRef kernel = weight.sizes().slice(2);
  std::vector<ParameterTerm> terms;
  for (const ParameterArgument& argument : call.parameters) {
    if (argument.position == kBias) {
      std::vector<int64_t> shape(output_gradient.dim(), 1);
      shape[1] = output_gradient.size(1);
      terms.push_back(ParameterTerm{
          argument.parameter,
          std::make_shared<DenseTerm>(
              argument.offset,
              SumToParameter(output_gradient, shape, axis, num_samples))});
      continue;
    }
    const at::Tensor input = call.inputs[kInput].toTensor().detach();
    // The side whose elements are the positions, and the side whose patches
    // meet them.
    const at::Tensor& positions = geometry.transposed ? input : output_gradient;
    const at::Tensor& patched = geometry.transposed ? output_gradient : input;
    const at::Tensor patches =
        Patches(patched, kernel, positions.sizes().slice(2), geometry);
    const at::Tensor left = positions.reshape(
        {positions.size(0), geometry.groups,
         positions.size(1) / geometry.groups, patches.size(3)});
    terms.push_back(
        ParameterTerm{argument.parameter,
                      std::make_shared<OuterProductTerm>(
                          argument.offset, Factor(left, axis, num_samples),
                          Factor(patches, axis, num_samples))});
  }
  return terms;
}

std::optional<AffineCall> ConvolutionRule::AsAffine(
    const OperatorCall& call) const {
  const Geometry geometry = GeometryOf(call);
  if (geometry.transposed) return std::nullopt;
  std::optional<AffineCall> affine;
  std::optional<size_t> bias;
  for (const ParameterArgument& argument : call.parameters) {
    if (argument.position == kBias) bias = kBias;
    if (argument.position != kWeight) continue;
    const at::Tensor& weight = call.inputs[kWeight].toTensor();
    affine = AffineCall{kWeight,
                        geometry.groups,
                        weight.size(0) / geometry.groups,
                        weight.numel() / weight.size(0),
                        /*input_major=*/false,
                        std::vector<int64_t>(call.output_shape.size(), 1),
                        std::nullopt};
    affine->bias_shape[1] = weight.size(0);
  }
  if (affine.has_value()) affine->bias = bias;
  return affine;
}

}  // namespace influence
