// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/rules/linear_rule.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/mul.h"
#include "absl/strings/string_view.h"
#include "gradients/gradient_term.h"
#include "gradients/layer_rule.h"
#include "gradients/parameter_view.h"
#include "gradients/sample_axis.h"

namespace influence {
namespace {

// Which argument of an operator is what; kNone where it has no such argument.
constexpr size_t kNone = static_cast<size_t>(-1);

struct Layout {
  size_t left, right;  // The two factors of the matrix product.
  size_t bias;
  size_t beta, alpha;        // bias is scaled by beta, the product by alpha.
  bool right_is_transposed;  // linear multiplies by the weight's transpose.
};

Layout LayoutOf(absl::string_view name) {
  if (name == "aten::linear") return {0, 1, 2, kNone, kNone, true};
  if (name == "aten::addmm") return {1, 2, 0, 3, 4, false};
  return {0, 1, kNone, kNone, kNone, false};  // mm, matmul, bmm
}

const ParameterArgument* FindArgument(const OperatorCall& call,
                                      size_t position) {
  for (const ParameterArgument& argument : call.parameters) {
    if (argument.position == position) return &argument;
  }
  return nullptr;
}

double ScalarAt(const OperatorCall& call, size_t position) {
  if (position == kNone || position >= call.inputs.size()) return 1;
  return call.inputs[position].toScalar().toDouble();
}

// The product seen as out[..., o] = sum_i input[..., i] weight[i, o].
struct Product {
  const ParameterArgument* weight = nullptr;
  size_t input = kNone;
  bool weight_on_left = false;  // Then input and output are transposed first.
  MatrixView view{};            // Of the weight as [i, o].
};

std::optional<Product> FindProduct(const OperatorCall& call,
                                   const Layout& layout) {
  Product product;
  product.weight = FindArgument(call, layout.right);
  product.input = layout.left;
  if (product.weight == nullptr) {
    product.weight = FindArgument(call, layout.left);
    product.input = layout.right;
    product.weight_on_left = true;
  }
  if (product.weight == nullptr ||
      FindArgument(call, product.input) != nullptr) {
    return std::nullopt;
  }
  const at::Tensor& weight = call.inputs[product.weight->position].toTensor();
  const at::Tensor& input = call.inputs[product.input].toTensor();
  // matmul allows vectors; a vector has no position and no sample dimension.
  if (weight.dim() < 2 || input.dim() < 2) return std::nullopt;
  std::optional<MatrixView> view = AsMatrixView(weight);
  if (!view.has_value()) return std::nullopt;
  if (view->groups > 1 && input.dim() != 3) return std::nullopt;
  // A stack [1, i, o] or of stride 0 meets inputs [b, t, i] or [1, t, i] only.
  if (weight.dim() == 3 && input.dim() != 3) return std::nullopt;
  if (weight.dim() == 3 && view->groups == 1 && weight.size(0) == 1 &&
      input.size(0) != 1 && call.name == "aten::bmm") {
    return std::nullopt;
  }
  const bool transpose = layout.right_is_transposed != product.weight_on_left;
  if (transpose) {
    *view =
        MatrixView{view->groups, view->columns, view->rows, !view->transposed};
  }
  product.view = *view;
  return product;
}

// The axis after the last two dimensions change places.
SampleAxis TransposedAxis(const SampleAxis& axis, int64_t num_dims) {
  SampleAxis transposed = axis;
  if (axis.dim == num_dims - 1) {
    transposed.dim = num_dims - 2;
  } else if (axis.dim == num_dims - 2) {
    transposed.dim = num_dims - 1;
  }
  return transposed;
}

}  // namespace

std::vector<std::string> LinearRule::operators() const {
  return {"aten::linear", "aten::addmm", "aten::mm", "aten::matmul",
          "aten::bmm"};
}

std::vector<size_t> LinearRule::CoveredArguments(
    const OperatorCall& call) const {
  const Layout layout = LayoutOf(call.name);
  std::vector<size_t> covered;
  const std::optional<Product> product = FindProduct(call, layout);
  if (product.has_value()) covered.push_back(product->weight->position);
  if (layout.bias != kNone && FindArgument(call, layout.bias) != nullptr &&
      call.inputs[layout.bias].toTensor().is_contiguous()) {
    covered.push_back(layout.bias);
  }
  return covered;
}

std::vector<size_t> LinearRule::ValueArguments(const OperatorCall& call) const {
  const std::optional<Product> product = FindProduct(call, LayoutOf(call.name));
  if (!product.has_value()) return {};
  return {product->input};
}

bool LinearRule::SupportsAxis(const OperatorCall& call,
                              const SampleAxis& axis) const {
  const int64_t num_dims = static_cast<int64_t>(call.output_shape.size());
  const Layout layout = LayoutOf(call.name);
  if (layout.bias != kNone && FindArgument(call, layout.bias) != nullptr) {
    const auto shape =
        BroadcastShape(call.inputs[layout.bias].toTensor(), call.output_shape);
    if (!shape.has_value() || (*shape)[axis.dim] != 1) return false;
  }
  const std::optional<Product> product = FindProduct(call, layout);
  if (!product.has_value()) return axis.dim < num_dims;
  const SampleAxis lead =
      product->weight_on_left ? TransposedAxis(axis, num_dims) : axis;
  // The samples must not lie along the features or, in a stack, the groups.
  return lead.dim < num_dims - 1 &&
         !(product->view.groups > 1 && lead.dim == 0);
}

std::vector<ParameterTerm> LinearRule::Terms(const OperatorCall& call,
                                             const at::Tensor& output_gradient,
                                             const SampleAxis& axis,
                                             int64_t num_samples) const {
  const Layout layout = LayoutOf(call.name);
  std::vector<ParameterTerm> terms;
  if (layout.bias != kNone) {
    const ParameterArgument* bias = FindArgument(call, layout.bias);
    if (bias != nullptr) {
      const auto shape = BroadcastShape(call.inputs[layout.bias].toTensor(),
                                        call.output_shape);
      at::Tensor sums =
          SumToParameter(output_gradient, *shape, axis, num_samples);
      const double beta = ScalarAt(call, layout.beta);
      if (beta != 1) sums = at::mul(sums, beta);
      terms.push_back(ParameterTerm{
          bias->parameter, std::make_shared<DenseTerm>(bias->offset, sums)});
    }
  }
  const std::optional<Product> product = FindProduct(call, layout);
  if (!product.has_value()) return terms;

  at::Tensor input = call.inputs[product->input].toTensor().detach();
  at::Tensor gradient = output_gradient;
  SampleAxis lead = axis;
  if (product->weight_on_left) {
    input = input.transpose(-1, -2);
    gradient = gradient.transpose(-1, -2);
    lead = TransposedAxis(axis, gradient.dim());
  }
  const double alpha = ScalarAt(call, layout.alpha);
  if (alpha != 1) gradient = at::mul(gradient, alpha);

  const MatrixView& view = product->view;
  const auto factor = [&](const at::Tensor& tensor) {
    if (view.groups == 1) {
      return SamplesFirst(tensor, lead, num_samples, 1).unsqueeze(1);
    }
    // [groups, positions, features]: the groups are a dimension of the factor.
    SampleAxis within = lead;
    within.dim = 0;
    const int64_t features = tensor.size(2);
    const at::Tensor moved = tensor.permute({1, 0, 2});
    return SamplesFirst(moved, within, num_samples, 2)
        .view({num_samples, -1, view.groups, features})
        .transpose(1, 2);
  };
  const at::Tensor a = factor(input);
  const at::Tensor g = factor(gradient);
  terms.push_back(ParameterTerm{
      product->weight->parameter,
      view.transposed
          ? std::make_shared<OuterProductTerm>(product->weight->offset, g, a)
          : std::make_shared<OuterProductTerm>(product->weight->offset, a, g)});
  return terms;
}

std::optional<AffineCall> LinearRule::AsAffine(const OperatorCall& call) const {
  const Layout layout = LayoutOf(call.name);
  const std::optional<Product> product = FindProduct(call, layout);
  if (!product.has_value()) return std::nullopt;
  // Of the weight as [i, o]; transposed means that it lies there as [o, i].
  const MatrixView& view = product->view;
  AffineCall affine{product->weight->position,
                    view.groups,
                    view.columns,
                    view.rows,
                    !view.transposed,
                    std::vector<int64_t>(call.output_shape.size(), 1),
                    std::nullopt};
  const size_t num_dims = call.output_shape.size();
  if (num_dims < 2) return std::nullopt;
  affine.bias_shape[num_dims - (product->weight_on_left ? 2 : 1)] =
      view.columns;
  if (view.groups > 1) affine.bias_shape[0] = view.groups;
  if (layout.bias != kNone && FindArgument(call, layout.bias) != nullptr &&
      ScalarAt(call, layout.beta) == 1 && ScalarAt(call, layout.alpha) == 1 &&
      BroadcastShape(call.inputs[layout.bias].toTensor(), call.output_shape) ==
          affine.bias_shape) {
    affine.bias = layout.bias;
  }
  return affine;
}

}  // namespace influence
