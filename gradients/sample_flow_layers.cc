// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/sample_flow_layers.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/core/ivalue.h"
#include "ATen/ops/arange.h"
#include "gradients/sample_flow_arguments.h"
#include "gradients/sample_flow_rules.h"
#include "gradients/sample_layout.h"

namespace influence {
namespace {

// a [..., m, k] times b [..., k, n], where a vector b is a column.
std::optional<SampleFlow> Product(const FlowCall& call, const at::Tensor& a,
                                  const at::Tensor& b, at::IntArrayRef shape) {
  const SampleFlow left = call.flow_of(a), right = call.flow_of(b);
  const int64_t num_dims = static_cast<int64_t>(shape.size());
  const bool vector = b.dim() == 1;
  if (a.dim() < 2 || (vector && right.has_samples)) return std::nullopt;
  // Where each dimension of the factors ends up, or -1.
  const int64_t kept_left = vector ? num_dims - (a.dim() - 1) : 0;
  const auto place_left = [&](int64_t d) -> int64_t {
    if (d == a.dim() - 1) return -1;
    return vector ? d + kept_left : d + num_dims - a.dim();
  };
  const auto place_right = [&](int64_t d) -> int64_t {
    if (vector || d == b.dim() - 2) return -1;
    return d + num_dims - b.dim();
  };
  SampleFlow result;
  for (int64_t d = 0; d < a.dim(); ++d) {
    if (HasBit(left.varies, d) && place_left(d) >= 0) {
      result.varies |= Bit(place_left(d));
    }
  }
  for (int64_t d = 0; d < b.dim(); ++d) {
    if (HasBit(right.varies, d) && place_right(d) >= 0) {
      result.varies |= Bit(place_right(d));
    }
  }
  if (!left.has_samples && !right.has_samples) return result;
  if (left.has_samples) {
    result.layout = left.layout;
    result.layout.dim = place_left(left.layout.dim);
  }
  if (right.has_samples) {
    SampleLayout layout = right.layout;
    layout.dim = place_right(layout.dim);
    if (left.has_samples && layout != result.layout) return std::nullopt;
    result.layout = layout;
  }
  result.has_samples = true;
  const int64_t dim = result.layout.dim;
  if (dim < 0 || HasBit(result.varies, dim) ||
      shape[dim] != result.layout.Length(call.num_samples)) {
    return std::nullopt;
  }
  return result;
}

// The sum of a product and a term that is broadcast to it.
bool ProductAndTerm(const FlowCall& call,
                    const std::optional<SampleFlow>& found,
                    const at::Tensor* term, Flows* flows) {
  if (!found.has_value()) return false;
  SampleFlow product = *found;
  if (term == nullptr) return ToAll(call, product, flows);
  const at::IntArrayRef shape = call.outputs[0].sizes();
  const auto added = Broadcast(call, {*term}, shape);
  if (!added.has_value()) return false;
  if (added->has_samples) {
    if (product.has_samples && product.layout != added->layout) return false;
    if (HasBit(product.varies, added->layout.dim)) return false;
    product.layout = added->layout;
    product.has_samples = true;
  } else if (product.has_samples && HasBit(added->varies, product.layout.dim)) {
    return false;
  }
  product.varies |= added->varies;
  return ToAll(call, product, flows);
}

bool Matmul(const FlowCall& call, Flows* flows) {
  return ProductAndTerm(
      call,
      Product(call, call.inputs[0].toTensor(), call.inputs[1].toTensor(),
              call.outputs[0].sizes()),
      nullptr, flows);
}
// addmm, baddbmm, addmv: term, a, b.
bool AddProduct(const FlowCall& call, Flows* flows) {
  return ProductAndTerm(
      call,
      Product(call, call.inputs[1].toTensor(), call.inputs[2].toTensor(),
              call.outputs[0].sizes()),
      &call.inputs[0].toTensor(), flows);
}

// linear(x, weight, bias): along the last dimension of x.
bool Linear(const FlowCall& call, Flows* flows) {
  if (!OnlyThese(call, {0})) return false;
  const at::Tensor& input = call.inputs[0].toTensor();
  const SampleFlow flow = call.flow_of(input);
  if (input.dim() == 0) return false;
  const bool drops = call.outputs[0].dim() != input.dim();
  auto result = Along(flow, input.sizes(), {input.dim() - 1}, drops);
  if (!result.has_value()) return false;
  if (!drops) result->varies |= Bit(input.dim() - 1);
  return ToAll(call, *result, flows);
}

bool AreInts(const FlowCall& call, size_t position,
             const std::vector<int64_t>& values) {
  return position < call.inputs.size() && call.inputs[position].isIntList() &&
         call.inputs[position].toIntVector() == values;
}

// What aten::bilinear is made of: a [N, I], a weight [O, I, J], b [N, J].
bool Trilinear(const FlowCall& call, Flows* flows) {
  if (!OnlyThese(call, {0, 2}) || !AreInts(call, 3, {1, 3}) ||
      !AreInts(call, 4, {0}) || !AreInts(call, 5, {1, 2}) ||
      !AreInts(call, 6, {2, 3})) {
    return false;
  }
  const SampleFlow left = call.flow_of(call.inputs[0].toTensor());
  const SampleFlow right = call.flow_of(call.inputs[2].toTensor());
  return left.has_samples && right.has_samples && left.layout.dim == 0 &&
         left.layout == right.layout && ToAll(call, left, flows);
}

// Samples along the first dimension, parameters that are shared by all.
bool FirstDimension(const FlowCall& call, Flows* flows) {
  if (!IsTensor(call, 0) || !OnlyThese(call, {0})) return false;
  const at::Tensor& input = call.inputs[0].toTensor();
  const SampleFlow flow = call.flow_of(input);
  if (!flow.has_samples || flow.layout.dim != 0 || input.dim() < 2) {
    return false;
  }
  for (const at::Tensor& output : call.outputs) {
    if (output.dim() == 0 || output.size(0) != input.size(0)) return false;
  }
  return ToAll(call, flow, flows);
}

// An input without a batch has one dimension fewer than the weight.
bool Convolution(const FlowCall& call, Flows* flows) {
  return IsTensor(call, 1) &&
         call.inputs[0].toTensor().dim() == call.inputs[1].toTensor().dim() &&
         FirstDimension(call, flows);
}

bool BatchNorm(const FlowCall& call, Flows* flows) {
  return call.inputs[5].isBool() && !call.inputs[5].toBool() &&
         FirstDimension(call, flows);
}

// Work on the last `count` dimensions.
bool Trailing(const FlowCall& call, int64_t count, Flows* flows) {
  if (!IsTensor(call, 0) || !OnlyThese(call, {0})) return false;
  const at::Tensor& input = call.inputs[0].toTensor();
  const SampleFlow flow = call.flow_of(input);
  if (!flow.has_samples || flow.layout.dim >= input.dim() - count) return false;
  for (const at::Tensor& output : call.outputs) {
    if (output.dim() <= flow.layout.dim ||
        output.size(flow.layout.dim) != flow.layout.Length(call.num_samples)) {
      return false;
    }
  }
  return ToAll(call, flow, flows);
}
bool TrailingOne(const FlowCall& call, Flows* flows) {
  return Trailing(call, 1, flows);
}
bool TrailingTwo(const FlowCall& call, Flows* flows) {
  return Trailing(call, 2, flows);
}
bool TrailingThree(const FlowCall& call, Flows* flows) {
  return Trailing(call, 3, flows);
}
bool LayerNorm(const FlowCall& call, Flows* flows) {
  return call.inputs[1].isIntList() &&
         Trailing(call,
                  static_cast<int64_t>(call.inputs[1].toIntVector().size()),
                  flows);
}
bool Pad(const FlowCall& call, Flows* flows) {
  return call.inputs[1].isIntList() &&
         Trailing(call,
                  static_cast<int64_t>(call.inputs[1].toIntVector().size() / 2),
                  flows);
}

// prelu: the weight is a scalar or lies along dimension 1.
bool Prelu(const FlowCall& call, Flows* flows) {
  if (!OnlyThese(call, {0})) return false;
  const SampleFlow flow = call.flow_of(call.inputs[0].toTensor());
  if (!flow.has_samples ||
      (call.inputs[1].toTensor().numel() > 1 && flow.layout.dim == 1)) {
    return false;
  }
  return LikeFirst(call, flows);
}

// weight[indices]: a table that all samples share.
bool Embedding(const FlowCall& call, Flows* flows) {
  if (!OnlyThese(call, {1})) return false;
  SampleFlow flow = call.flow_of(call.inputs[1].toTensor());
  if (!flow.has_samples) {
    flow.varies |= Bit(call.inputs[1].toTensor().dim());
  }
  return ToAll(call, flow, flows);
}

bool OneHot(const FlowCall& call, Flows* flows) {
  SampleFlow flow = call.flow_of(call.inputs[0].toTensor());
  if (!flow.has_samples) flow.varies |= Bit(call.inputs[0].toTensor().dim());
  // Without a number of classes the batch's largest one decides.
  return call.inputs[1].isInt() && call.inputs[1].toInt() > 0 &&
         ToAll(call, flow, flows);
}

// query, key, value, mask: batches and heads in front of [T, E].
bool Attention(const FlowCall& call, Flows* flows) {
  const at::Tensor& output = call.outputs[0];
  const int64_t num_dims = output.dim();
  SampleFlow result;
  for (size_t i = 0; i < call.inputs.size() && i < 4; ++i) {
    if (!IsTensor(call, i)) continue;
    const at::Tensor& tensor = call.inputs[i].toTensor();
    const SampleFlow flow = call.flow_of(tensor);
    const int64_t shift = num_dims - tensor.dim();
    if (shift < 0) return false;
    if (!flow.has_samples) {
      result.varies |= flow.varies << shift;
      continue;
    }
    SampleLayout layout = flow.layout;
    layout.dim += shift;
    if (layout.dim >= num_dims - 2) return false;
    if (result.has_samples && result.layout != layout) return false;
    result.has_samples = true;
    result.layout = layout;
  }
  if (result.has_samples && (HasBit(result.varies, result.layout.dim) ||
                             output.size(result.layout.dim) !=
                                 result.layout.Length(call.num_samples))) {
    return false;
  }
  flows->push_back(result);
  return call.outputs.size() == 1;
}

// EmbeddingBag of a [N, T] input: bags of T rows, one after the other.
bool EmbeddingBag(const FlowCall& call, Flows* flows) {
  if (!IsTensor(call, 1) || !IsTensor(call, 2)) return false;
  const at::Tensor& indices = call.inputs[1].toTensor();
  const at::Tensor& offsets = call.inputs[2].toTensor();
  const SampleFlow flow = call.flow_of(indices);
  if (!flow.has_samples || indices.dim() != 1 || flow.layout.outer != 1 ||
      call.flow_of(offsets).has_samples ||
      call.flow_of(call.inputs[0].toTensor()).has_samples ||
      offsets.numel() != call.num_samples ||
      !offsets.to(at::kLong).equal(at::arange(
          0, indices.numel(), std::max<int64_t>(1, flow.layout.inner)))) {
    return false;
  }
  if (IsTensor(call, 6) &&
      call.flow_of(call.inputs[6].toTensor()).has_samples &&
      call.flow_of(call.inputs[6].toTensor()).layout != flow.layout) {
    return false;
  }
  // The further outputs are for the backward pass alone.
  SampleFlow rest;
  rest.opaque = true;
  flows->assign(call.outputs.size(), rest);
  (*flows)[0] = SampleFlow{true, SampleLayout(), 0};
  return true;
}

}  // namespace

void AddLayerRules(FlowTable& table) {
  AddRule(table, Matmul, "matmul mm bmm mv");
  AddRule(table, AddProduct, "addmm baddbmm addmv");
  AddRule(table, Linear, "linear");
  AddRule(table, Trilinear, "_trilinear");
  AddRule(table, Convolution, "convolution _convolution");
  AddRule(table, BatchNorm, "batch_norm _batch_norm_impl_index");
  AddRule(table, FirstDimension,
          "group_norm native_group_norm instance_norm pixel_shuffle "
          "pixel_unshuffle channel_shuffle im2col col2im upsample_nearest1d "
          "upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d "
          "_upsample_nearest_exact2d upsample_linear1d upsample_bilinear2d "
          "upsample_bicubic2d upsample_trilinear3d _upsample_bilinear2d_aa");
  AddRule(table, LayerNorm,
          "layer_norm native_layer_norm rms_norm _fused_rms_norm");
  AddRule(table, Pad,
          "pad _pad_enum constant_pad_nd reflection_pad1d reflection_pad2d "
          "reflection_pad3d replication_pad1d replication_pad2d "
          "replication_pad3d");
  AddRule(table, TrailingOne,
          "max_pool1d max_pool1d_with_indices avg_pool1d adaptive_avg_pool1d "
          "adaptive_max_pool1d");
  AddRule(table, TrailingTwo,
          "max_pool2d max_pool2d_with_indices avg_pool2d adaptive_avg_pool2d "
          "_adaptive_avg_pool2d adaptive_max_pool2d triu tril");
  AddRule(table, TrailingThree,
          "max_pool3d max_pool3d_with_indices avg_pool3d adaptive_avg_pool3d "
          "_adaptive_avg_pool3d adaptive_max_pool3d");
  AddRule(table, Prelu, "prelu");
  AddRule(table, Embedding, "embedding");
  AddRule(table, EmbeddingBag, "embedding_bag");
  AddRule(table, OneHot, "one_hot");
  AddRule(table, Attention, "scaled_dot_product_attention");
}

}  // namespace influence
