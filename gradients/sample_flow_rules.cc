// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/sample_flow_rules.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/core/ivalue.h"
#include "ATen/ops/arange.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "gradients/sample_flow_arguments.h"
#include "gradients/sample_flow_layers.h"
#include "gradients/sample_layout.h"

namespace influence {
namespace {

std::vector<at::Tensor> TensorInputs(const FlowCall& call) {
  std::vector<at::Tensor> tensors;
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    if (IsTensor(call, i)) tensors.push_back(call.inputs[i].toTensor());
  }
  return tensors;
}

bool Elementwise(const FlowCall& call, Flows* flows) {
  const std::vector<at::Tensor> tensors = TensorInputs(call);
  for (const at::Tensor& output : call.outputs) {
    const auto flow = Broadcast(call, tensors, output.sizes());
    if (!flow.has_value()) return false;
    flows->push_back(*flow);
  }
  return true;
}

// where(condition) alone lists places.
bool Where(const FlowCall& call, Flows* flows) {
  return call.inputs.size() == 3 && Elementwise(call, flows);
}

// Elementwise where nothing is added up over the batch: reduction "none".
bool LossWithoutReduction(const FlowCall& call, Flows* flows,
                          size_t reduction_position) {
  return reduction_position < call.inputs.size() &&
         call.inputs[reduction_position].isInt() &&
         call.inputs[reduction_position].toInt() == 0 &&
         Elementwise(call, flows);
}
bool LossOfTwo(const FlowCall& call, Flows* flows) {
  return LossWithoutReduction(call, flows, 2);
}
bool BinaryCrossEntropy(const FlowCall& call, Flows* flows) {
  return LossWithoutReduction(call, flows, call.inputs.size() - 1);
}

bool OneValue(const FlowCall& call, Flows* flows) {
  return ToAll(call, SampleFlow(), flows);
}

bool View(const FlowCall& call, Flows* flows) {
  if (!IsTensor(call, 0) || !OnlyThese(call, {0, 1})) return false;
  const at::Tensor& input = call.inputs[0].toTensor();
  const SampleFlow flow = call.flow_of(input);
  for (const at::Tensor& output : call.outputs) {
    if (output.numel() != input.numel()) return false;
    SampleFlow seen;
    seen.varies = VariesOfView(flow.varies, input.sizes(), output.sizes());
    if (flow.has_samples) {
      const auto layout = LayoutOfView(flow.layout, input.sizes(),
                                       output.sizes(), call.num_samples);
      if (!layout.has_value()) return false;
      seen = SampleFlow{true, *layout, 0};
    }
    flows->push_back(seen);
  }
  return true;
}

// order[d]: the dimension of the input that becomes dimension d.
bool Permuted(const FlowCall& call, const std::vector<int64_t>& order,
              Flows* flows) {
  const SampleFlow flow = call.flow_of(call.inputs[0].toTensor());
  SampleFlow result;
  result.has_samples = flow.has_samples;
  result.layout = flow.layout;
  for (size_t d = 0; d < order.size(); ++d) {
    const int64_t dim = static_cast<int64_t>(d);
    if (HasBit(flow.varies, order[d])) result.varies |= Bit(dim);
    if (flow.has_samples && order[d] == flow.layout.dim) {
      result.layout.dim = dim;
    }
  }
  return ToAll(call, result, flows);
}

bool Permute(const FlowCall& call, Flows* flows) {
  const int64_t num_dims = call.inputs[0].toTensor().dim();
  const auto order = Dimensions(call, 1, num_dims);
  return order.has_value() && Permuted(call, *order, flows);
}

bool TransposePair(const FlowCall& call, int64_t first, int64_t second,
                   Flows* flows) {
  const int64_t num_dims = call.inputs[0].toTensor().dim();
  std::vector<int64_t> order(num_dims);
  for (int64_t d = 0; d < num_dims; ++d) order[d] = d;
  if (num_dims > 0) {
    std::swap(order[(first + num_dims) % num_dims],
              order[(second + num_dims) % num_dims]);
  }
  return Permuted(call, order, flows);
}
bool Transpose(const FlowCall& call, Flows* flows) {
  return call.inputs[1].isInt() && call.inputs[2].isInt() &&
         TransposePair(call, call.inputs[1].toInt(), call.inputs[2].toInt(),
                       flows);
}
bool MatrixTranspose(const FlowCall& call, Flows* flows) {
  if (call.inputs[0].toTensor().dim() < 2) return LikeFirst(call, flows);
  return TransposePair(call, -1, -2, flows);
}

bool Expand(const FlowCall& call, Flows* flows) {
  const at::Tensor& input = call.inputs[0].toTensor();
  const SampleFlow flow = call.flow_of(input);
  const at::Tensor& output = call.outputs[0];
  const int64_t shift = output.dim() - input.dim();
  SampleFlow result = flow;
  result.varies = flow.varies << shift;
  result.layout.dim += shift;
  return ToAll(call, result, flows);
}

bool Repeat(const FlowCall& call, Flows* flows) {
  const at::Tensor& input = call.inputs[0].toTensor();
  const SampleFlow flow = call.flow_of(input);
  const std::vector<int64_t> times = call.inputs[1].toIntVector();
  const int64_t shift = static_cast<int64_t>(times.size()) - input.dim();
  SampleFlow result = flow;
  result.varies = flow.varies << shift;
  result.layout.dim += shift;
  if (flow.has_samples) result.layout.outer *= times[result.layout.dim];
  return ToAll(call, result, flows);
}

// repeat_interleave(self, times, dim) with one number of times.
bool RepeatInterleave(const FlowCall& call, Flows* flows) {
  if (!call.inputs[1].isInt()) return false;
  const at::Tensor& input = call.inputs[0].toTensor();
  const auto dims = Dimensions(call, 2, input.dim());
  if (!dims.has_value()) return false;
  SampleFlow flow = call.flow_of(input);
  if (flow.has_samples && flow.layout.dim == (*dims)[0]) {
    flow.layout.inner *= call.inputs[1].toInt();
  }
  return ToAll(call, flow, flows);
}

bool AlongDimensions(const FlowCall& call, size_t position, bool one_tensor,
                     Flows* flows) {
  if (!IsTensor(call, 0) || (one_tensor && !OnlyThese(call, {0}))) return false;
  const at::Tensor& input = call.inputs[0].toTensor();
  const auto dims = Dimensions(call, position, input.dim());
  if (!dims.has_value()) return false;
  const SampleFlow flow = call.flow_of(input);
  for (const at::Tensor& output : call.outputs) {
    const auto result =
        Along(flow, input.sizes(), *dims, output.dim() < input.dim());
    if (!result.has_value()) return false;
    flows->push_back(*result);
  }
  return true;
}
bool AlongFirst(const FlowCall& call, Flows* flows) {
  return AlongDimensions(call, 1, true, flows);
}
bool AlongSecond(const FlowCall& call, Flows* flows) {
  return AlongDimensions(call, 2, true, flows);
}

// Reductions whose overload without dimensions adds up everything: it has fewer
// arguments, of which one may be a dtype, a number as well.
bool Reduction(const FlowCall& call, Flows* flows) {
  return call.inputs.size() >= 3 && AlongFirst(call, flows);
}
// max and min of two tensors are elementwise.
bool ReductionOrElementwise(const FlowCall& call, Flows* flows) {
  return IsTensor(call, 1) ? Elementwise(call, flows) : Reduction(call, flows);
}

bool Slice(const FlowCall& call, Flows* flows) {
  const at::Tensor& input = call.inputs[0].toTensor();
  if (call.outputs[0].sizes() == input.sizes()) return LikeFirst(call, flows);
  return AlongFirst(call, flows);
}

// Arguments of one shape but along the dimension worked on: every tensor has
// each sample's rows.
bool Aligned(const FlowCall& call, Flows* flows) {
  const at::Tensor& input = call.inputs[0].toTensor();
  const auto dims = Dimensions(call, 1, input.dim());
  if (!dims.has_value()) return false;
  SampleFlow joined;
  const std::vector<at::Tensor> tensors = TensorInputs(call);
  for (const at::Tensor& tensor : tensors) {
    const SampleFlow flow = call.flow_of(tensor);
    if (!flow.has_samples) {
      joined.varies |= flow.varies;
      continue;
    }
    if (joined.has_samples && joined.layout != flow.layout) return false;
    joined.has_samples = true;
    joined.layout = flow.layout;
  }
  if (joined.has_samples) {
    const SampleLayout& layout = joined.layout;
    if (HasBit(joined.varies, layout.dim)) return false;
    for (const at::Tensor& tensor : tensors) {
      if (tensor.dim() == 0) continue;
      if (tensor.dim() <= layout.dim ||
          tensor.size(layout.dim) != layout.Length(call.num_samples)) {
        return false;
      }
    }
  }
  const auto result = Along(joined, call.outputs[0].sizes(), *dims, false);
  return result.has_value() && ToAll(call, *result, flows);
}

// sort and argsort, of which the stable forms have one argument more.
bool Sort(const FlowCall& call, Flows* flows) {
  const bool stable = call.inputs.size() > 1 && !call.inputs[1].isInt();
  return stable ? AlongSecond(call, flows) : AlongFirst(call, flows);
}

// The index is the same for every sample.
bool IndexSelect(const FlowCall& call, Flows* flows) {
  return AlongFirst(call, flows);
}

// cat(tensors, dim).
bool Cat(const FlowCall& call, Flows* flows) {
  if (!call.inputs[0].isTensorList()) return false;
  const std::vector<at::Tensor> tensors = call.inputs[0].toTensorVector();
  const auto dims = Dimensions(call, 1, call.outputs[0].dim());
  if (!dims.has_value()) return false;
  const int64_t dim = (*dims)[0];
  SampleFlow result;
  int64_t outer = 0;
  bool all = true;
  for (const at::Tensor& tensor : tensors) {
    if (tensor.dim() == 1 && tensor.numel() == 0) continue;  // Ignored.
    const SampleFlow flow = call.flow_of(tensor);
    if (!flow.has_samples) {
      result.varies |= flow.varies;
      all = false;
      continue;
    }
    SampleLayout layout = flow.layout;
    if (layout.dim == dim) {
      outer += layout.outer;
      layout.outer = 1;
    }
    if (result.has_samples && result.layout != layout) return false;
    result.has_samples = true;
    result.layout = layout;
  }
  if (!result.has_samples) {
    result.varies |= Bit(dim);
    return ToAll(call, result, flows);
  }
  if (result.layout.dim == dim) {
    if (!all) return false;
    result.layout.outer = outer;
  } else if (HasBit(result.varies, result.layout.dim)) {
    return false;
  }
  return ToAll(call, result, flows);
}

// stack(tensors, dim).
bool Stack(const FlowCall& call, Flows* flows) {
  if (!call.inputs[0].isTensorList()) return false;
  const auto dims = Dimensions(call, 1, call.outputs[0].dim());
  if (!dims.has_value()) return false;
  const int64_t dim = (*dims)[0];
  const std::vector<at::Tensor> tensors = call.inputs[0].toTensorVector();
  if (tensors.empty()) return false;
  const auto joined = Broadcast(call, tensors, tensors[0].sizes());
  if (!joined.has_value()) return false;
  SampleFlow result = *joined;
  if (result.has_samples && result.layout.dim >= dim) ++result.layout.dim;
  const uint64_t below = Bit(dim) - 1;
  result.varies =
      (joined->varies & below) | ((joined->varies & ~below) << 1) | Bit(dim);
  return ToAll(call, result, flows);
}

// x[rows, i, ...] with rows = 0, 1, ..., N - 1 along one dimension, and indices
// that are the same for all samples or go with them: places of each sample.
bool PickOfEachSample(const FlowCall& call, const SampleFlow& flow,
                      const std::vector<at::Tensor>& indices, Flows* flows) {
  if (flow.layout != SampleLayout()) return false;
  int64_t num_dims = 0;
  for (const at::Tensor& index : indices) {
    if (!index.defined() || index.scalar_type() == at::kBool) return false;
    num_dims = std::max(num_dims, index.dim());
  }
  const at::Tensor& rows = indices[0];
  if (rows.scalar_type() != at::kLong || rows.numel() != call.num_samples ||
      call.flow_of(rows).has_samples ||
      !rows.reshape({-1}).equal(at::arange(call.num_samples))) {
    return false;
  }
  SampleLayout result;
  for (int64_t d = 0; d < rows.dim(); ++d) {
    if (rows.size(d) == call.num_samples) {
      result.dim = d + num_dims - rows.dim();
    } else if (rows.size(d) != 1) {
      return false;
    }
  }
  for (size_t i = 1; i < indices.size(); ++i) {
    const SampleFlow index = call.flow_of(indices[i]);
    const int64_t dim = result.dim - (num_dims - indices[i].dim());
    if (index.has_samples ? index.layout != SampleLayout{dim, 1, 1}
                          : HasBit(index.varies, dim)) {
      return false;
    }
  }
  return ToAll(call, SampleFlow{true, result, 0}, flows);
}

// self[..., indices, ...].
bool Index(const FlowCall& call, Flows* flows) {
  if (call.inputs.size() != 2 || !call.inputs[1].isList()) return false;
  const at::Tensor& self = call.inputs[0].toTensor();
  SampleFlow flow = call.flow_of(self);
  std::vector<at::Tensor> indices;
  int64_t position = -1;
  bool several = false;
  for (const c10::IValue& value : call.inputs[1].toListRef()) {
    indices.push_back(value.isTensor() ? value.toTensor() : at::Tensor());
    if (!indices.back().defined()) continue;
    several = several || position >= 0;
    position = static_cast<int64_t>(indices.size()) - 1;
  }
  if (position < 0) return LikeFirst(call, flows);
  if (several) {
    return flow.has_samples && PickOfEachSample(call, flow, indices, flows);
  }
  const at::Tensor& index = indices[position];
  if (index.scalar_type() == at::kBool && index.dim() != 1) return false;
  const SampleFlow index_flow = call.flow_of(index);
  if (!flow.has_samples) {
    if (index_flow.has_samples && index.scalar_type() == at::kBool) {
      return false;
    }
    SampleFlow result{index_flow.has_samples, index_flow.layout,
                      AllVary(call.outputs[0].sizes())};
    result.layout.dim += position;
    return ToAll(call, result, flows);
  }
  if (index_flow.has_samples || flow.layout.dim == position) return false;
  if (flow.layout.dim > position) flow.layout.dim += index.dim() - 1;
  return ToAll(call, flow, flows);
}

void AddElementwise(FlowTable& table) {
  AddRule(
      table, Elementwise,
      "abs neg negative exp exp2 expm1 log log2 log10 log1p sqrt rsqrt sin "
      "cos tan asin acos atan sinh cosh tanh asinh acosh atanh sigmoid "
      "logit relu relu6 leaky_relu elu selu celu gelu silu mish hardtanh "
      "hardsigmoid hardswish softplus softshrink hardshrink threshold "
      "log_sigmoid log_sigmoid_forward erf erfc erfinv lgamma digamma "
      "reciprocal square sign sgn ceil floor round trunc frac clamp "
      "clamp_min clamp_max clip nan_to_num isnan isinf isfinite logical_not "
      "bitwise_not positive sinc");
  AddRule(
      table, Elementwise,
      "add sub subtract rsub mul multiply div divide true_divide "
      "floor_divide remainder fmod pow float_power maximum minimum fmax "
      "fmin atan2 hypot eq ne lt le gt ge logical_and logical_or "
      "logical_xor bitwise_and bitwise_or bitwise_xor __and__ __or__ "
      "__xor__ masked_fill addcmul addcdiv lerp xlogy special_xlogy "
      "heaviside copysign copy fill zero logaddexp logaddexp2 _prelu_kernel");
  AddRule(table, Where, "where");
  AddRule(table, LossOfTwo,
          "mse_loss l1_loss smooth_l1_loss huber_loss soft_margin_loss");
  AddRule(table, BinaryCrossEntropy, "binary_cross_entropy_with_logits");
  AddRule(table, LikeFirst,
          "to _to_copy type_as clone contiguous detach alias lift_fresh "
          "lift_fresh_copy requires_grad resolve_conj resolve_neg real "
          "_cast_Byte _cast_Char _cast_Double _cast_Float _cast_Half _cast_Int "
          "_cast_Long _cast_Short");
  // Chance is looked for elsewhere.
  AddRule(table, LikeFirst,
          "dropout feature_dropout alpha_dropout feature_alpha_dropout rrelu");
  AddRule(table, OneValue,
          "zeros ones full empty zeros_like ones_like full_like empty_like "
          "new_zeros new_ones new_full new_empty empty_strided scalar_tensor");
}

void AddShapes(FlowTable& table) {
  AddRule(table, View,
          "view reshape _unsafe_view _reshape_alias flatten unflatten view_as "
          "reshape_as ravel squeeze unsqueeze");
  AddRule(table, Permute, "permute");
  AddRule(table, Transpose, "transpose swapaxes swapdims");
  AddRule(table, MatrixTranspose, "t mT adjoint");
  AddRule(table, Expand, "expand expand_as broadcast_to");
  AddRule(table, Repeat, "repeat");
  AddRule(table, RepeatInterleave, "repeat_interleave");
  AddRule(table, Cat, "cat concat concatenate");
  AddRule(table, Stack, "stack");
  AddRule(table, Index, "index");
  AddRule(table, Slice, "slice");
}

void AddAlong(FlowTable& table) {
  AddRule(table, AlongFirst,
          "softmax _softmax log_softmax _log_softmax cumsum cumprod "
          "logcumsumexp flip glu narrow select unbind unfold");
  AddRule(table, Sort, "sort argsort");
  AddRule(table, AlongSecond,
          "topk roll split split_with_sizes chunk unsafe_split unsafe_chunk "
          "unsafe_split_with_sizes norm linalg_vector_norm");
  AddRule(table, IndexSelect, "index_select");
  AddRule(table, Aligned, "gather scatter scatter_add");
  AddRule(table, Reduction,
          "sum mean nansum prod amax amin any all argmax argmin median "
          "logsumexp var std cummax cummin frobenius_norm count_nonzero");
  AddRule(table, ReductionOrElementwise, "max min");
}

const FlowTable& Rules() {
  static const FlowTable& table = *[] {
    auto* rules = new FlowTable();
    AddElementwise(*rules);
    AddShapes(*rules);
    AddAlong(*rules);
    AddLayerRules(*rules);
    return rules;
  }();
  return table;
}

}  // namespace

FlowRule FindFlowRule(absl::string_view name) {
  if (!absl::ConsumePrefix(&name, "aten::")) return nullptr;
  const FlowTable& rules = Rules();
  auto rule = rules.find(name);
  // The rule of a change in place, unless it changes the shape.
  if (rule == rules.end() && absl::ConsumeSuffix(&name, "_") &&
      !absl::EndsWith(name, "_") && name != "t" && name != "squeeze" &&
      name != "unsqueeze" && name != "swapaxes" && name != "swapdims") {
    rule = rules.find(name);
  }
  return rule == rules.end() ? nullptr : rule->second;
}

bool IsComposite(absl::string_view name) {
  if (name == "chunk") return true;  // TorchScript's own, of aten::split.
  static const auto& names = *new std::set<absl::string_view>(absl::StrSplit(
      "bilinear _convolution_mode conv1d conv2d conv3d conv_transpose1d "
      "conv_transpose2d "
      "conv_transpose3d einsum lstm gru rnn_tanh rnn_relu lstm_cell "
      "gru_cell rnn_tanh_cell rnn_relu_cell movedim moveaxis numpy_T mH "
      "tile hstack vstack dstack column_stack meshgrid cosine_similarity "
      "pairwise_distance linalg_norm tanhshrink special_expit "
      "broadcast_tensors _weight_norm norm_except_dim inner linalg_vecdot "
      "linalg_matmul special_softmax special_log_softmax softmin",
      ' '));
  return absl::ConsumePrefix(&name, "aten::") && names.count(name) > 0;
}

}  // namespace influence
