// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/sample_flow_rules.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/core/ivalue.h"
#include "ATen/ops/arange.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "gradients/sample_layout.h"

namespace influence {
namespace {

using Flows = std::vector<SampleFlow>;

bool HasBit(uint64_t bits, int64_t d) {
  return d >= 0 && (bits & (uint64_t{1} << d)) != 0;
}

uint64_t Bit(int64_t d) { return uint64_t{1} << d; }

bool IsTensor(const FlowCall& call, size_t position) {
  return position < call.inputs.size() && call.inputs[position].isTensor() &&
         call.inputs[position].toTensor().defined();
}

std::vector<at::Tensor> TensorInputs(const FlowCall& call) {
  std::vector<at::Tensor> tensors;
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    if (IsTensor(call, i)) tensors.push_back(call.inputs[i].toTensor());
  }
  return tensors;
}

// Whether no tensor argument but those at `positions` has samples.
bool OnlyThese(const FlowCall& call, std::initializer_list<size_t> positions) {
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    if (!IsTensor(call, i)) continue;
    if (std::find(positions.begin(), positions.end(), i) != positions.end()) {
      continue;
    }
    if (call.flow_of(call.inputs[i].toTensor()).has_samples) return false;
  }
  return true;
}

// The dimensions at `position`, counted from the front; nullopt if there are
// none, which means all of them, or the argument is something else.
std::optional<std::vector<int64_t>> Dimensions(const FlowCall& call,
                                               size_t position,
                                               int64_t num_dims) {
  if (position >= call.inputs.size()) return std::nullopt;
  const c10::IValue& value = call.inputs[position];
  std::vector<int64_t> dims;
  if (value.isInt()) {
    dims.push_back(value.toInt());
  } else if (value.isIntList()) {
    dims = value.toIntVector();
  }
  if (dims.empty()) return std::nullopt;
  for (int64_t& dim : dims) {
    if (dim < 0) dim += num_dims;
  }
  return dims;
}

bool Contains(const std::vector<int64_t>& values, int64_t value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

bool ToAll(const FlowCall& call, const SampleFlow& flow, Flows* flows) {
  flows->assign(call.outputs.size(), flow);
  return true;
}

// What an elementwise function of broadcast `tensors` knows of its result.
std::optional<SampleFlow> Broadcast(const FlowCall& call,
                                    const std::vector<at::Tensor>& tensors,
                                    at::IntArrayRef shape) {
  SampleFlow result;
  const int64_t num_dims = static_cast<int64_t>(shape.size());
  for (const at::Tensor& tensor : tensors) {
    const SampleFlow flow = call.flow_of(tensor);
    const int64_t shift = num_dims - tensor.dim();
    if (shift < 0) return std::nullopt;
    if (!flow.has_samples) {
      result.varies |= flow.varies << shift;
      continue;
    }
    SampleLayout layout = flow.layout;
    layout.dim += shift;
    if (shape[layout.dim] != layout.Length(call.num_samples)) {
      return std::nullopt;
    }
    if (result.has_samples && result.layout != layout) return std::nullopt;
    result.has_samples = true;
    result.layout = layout;
  }
  // A value of its own for each row would tell the first sample of a batch from
  // the second one.
  if (result.has_samples && HasBit(result.varies, result.layout.dim)) {
    return std::nullopt;
  }
  return result;
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

// The first argument's values, or what only its dtype and shape decide.
bool LikeFirst(const FlowCall& call, Flows* flows) {
  if (!IsTensor(call, 0)) return false;
  const at::Tensor& input = call.inputs[0].toTensor();
  for (const at::Tensor& output : call.outputs) {
    if (output.sizes() != input.sizes()) return false;
  }
  return ToAll(call, call.flow_of(input), flows);
}

bool Dropout(const FlowCall& call, Flows* flows) {
  return LikeFirst(call, flows);  // Chance is looked for elsewhere.
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

// After work along `dims`, which an output without keepdim lacks.
std::optional<SampleFlow> Along(const SampleFlow& flow, at::IntArrayRef shape,
                                const std::vector<int64_t>& dims, bool drops) {
  SampleFlow result;
  result.has_samples = flow.has_samples;
  result.layout = flow.layout;
  if (flow.has_samples && Contains(dims, flow.layout.dim)) return std::nullopt;
  int64_t next = 0;
  for (int64_t d = 0; d < static_cast<int64_t>(shape.size()); ++d) {
    const bool worked_on = Contains(dims, d);
    if (worked_on && drops) continue;
    if (HasBit(flow.varies, d) || (worked_on && shape[d] > 1)) {
      result.varies |= Bit(next);
    }
    if (flow.has_samples && d == flow.layout.dim) result.layout.dim = next;
    ++next;
  }
  return result;
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

bool Bilinear(const FlowCall& call, Flows* flows) {
  if (!OnlyThese(call, {0, 1})) return false;
  const at::Tensor& a = call.inputs[0].toTensor();
  const at::Tensor& b = call.inputs[1].toTensor();
  const SampleFlow left = call.flow_of(a), right = call.flow_of(b);
  if (!left.has_samples || !right.has_samples || a.dim() != b.dim() ||
      left.layout != right.layout || left.layout.dim == a.dim() - 1) {
    return false;
  }
  return ToAll(call, left, flows);
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
bool BatchNormWithoutTraining(const FlowCall& call, Flows* flows) {
  if (call.inputs.size() < 5 || !FirstDimension(call, flows)) return false;
  return call.outputs.size() == 1;
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

// x[rows, i, ...] with rows = 0, 1, ..., N - 1 and an index a sample for each
// further one of the first dimensions: one place of each sample.
bool PickOfEachSample(const FlowCall& call, const SampleFlow& flow,
                      const std::vector<at::Tensor>& indices, Flows* flows) {
  if (flow.layout != SampleLayout() || indices.size() < 2) return false;
  const at::Tensor& rows = indices[0];
  if (!rows.defined() || rows.dim() != 1 || rows.scalar_type() != at::kLong ||
      rows.size(0) != call.num_samples || call.flow_of(rows).has_samples ||
      !rows.equal(at::arange(call.num_samples))) {
    return false;
  }
  for (size_t i = 1; i < indices.size(); ++i) {
    if (!indices[i].defined() || indices[i].scalar_type() == at::kBool) {
      return false;
    }
    const SampleFlow index = call.flow_of(indices[i]);
    if (index.has_samples
            ? indices[i].dim() != 1 || index.layout != SampleLayout()
            : index.varies != 0) {
      return false;
    }
  }
  return ToAll(call, SampleFlow{true, SampleLayout(), 0}, flows);
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
  flows->assign(call.outputs.size(), SampleFlow());
  (*flows)[0] = SampleFlow{true, SampleLayout(), 0};
  return true;
}

using Table = absl::flat_hash_map<absl::string_view, FlowRule>;

// names: separated by spaces.
void Add(Table& table, FlowRule rule, absl::string_view names) {
  for (const absl::string_view name : absl::StrSplit(names, ' ')) {
    table[name] = rule;
  }
}

void AddElementwise(Table& table) {
  Add(table, Elementwise,
      "abs neg negative exp exp2 expm1 log log2 log10 log1p sqrt rsqrt sin "
      "cos tan asin acos atan sinh cosh tanh asinh acosh atanh sigmoid "
      "logit relu relu6 leaky_relu elu selu celu gelu silu mish hardtanh "
      "hardsigmoid hardswish softplus softshrink hardshrink threshold "
      "log_sigmoid log_sigmoid_forward erf erfc erfinv lgamma digamma "
      "reciprocal square sign sgn ceil floor round trunc frac clamp "
      "clamp_min clamp_max clip nan_to_num isnan isinf isfinite logical_not "
      "bitwise_not positive sinc");
  Add(table, Elementwise,
      "add sub subtract rsub mul multiply div divide true_divide "
      "floor_divide remainder fmod pow float_power maximum minimum fmax "
      "fmin atan2 hypot eq ne lt le gt ge logical_and logical_or "
      "logical_xor bitwise_and bitwise_or bitwise_xor __and__ __or__ "
      "__xor__ masked_fill addcmul addcdiv lerp xlogy special_xlogy "
      "heaviside copysign copy fill zero logaddexp logaddexp2 _prelu_kernel");
  Add(table, Where, "where");
  Add(table, LossOfTwo,
      "mse_loss l1_loss smooth_l1_loss huber_loss soft_margin_loss");
  Add(table, BinaryCrossEntropy, "binary_cross_entropy_with_logits");
  Add(table, LikeFirst,
      "to _to_copy type_as clone contiguous detach alias lift_fresh "
      "lift_fresh_copy requires_grad resolve_conj resolve_neg real "
      "_cast_Byte _cast_Char _cast_Double _cast_Float _cast_Half _cast_Int "
      "_cast_Long _cast_Short");
  Add(table, Dropout,
      "dropout feature_dropout alpha_dropout feature_alpha_dropout rrelu");
  Add(table, OneValue,
      "zeros ones full empty zeros_like ones_like full_like empty_like "
      "new_zeros new_ones new_full new_empty empty_strided scalar_tensor");
}

void AddShapes(Table& table) {
  Add(table, View,
      "view reshape _unsafe_view _reshape_alias flatten unflatten view_as "
      "reshape_as ravel squeeze unsqueeze");
  Add(table, Permute, "permute");
  Add(table, Transpose, "transpose swapaxes swapdims");
  Add(table, MatrixTranspose, "t mT adjoint");
  Add(table, Expand, "expand expand_as broadcast_to");
  Add(table, Repeat, "repeat");
  Add(table, RepeatInterleave, "repeat_interleave");
  Add(table, Cat, "cat concat concatenate");
  Add(table, Stack, "stack");
  Add(table, Index, "index");
  Add(table, Slice, "slice");
}

void AddAlong(Table& table) {
  Add(table, AlongFirst,
      "softmax _softmax log_softmax _log_softmax cumsum cumprod "
      "logcumsumexp flip glu narrow select unbind unfold");
  Add(table, Sort, "sort argsort");
  Add(table, AlongSecond,
      "topk roll split split_with_sizes chunk unsafe_split unsafe_chunk "
      "unsafe_split_with_sizes norm linalg_vector_norm");
  Add(table, IndexSelect, "index_select");
  Add(table, Aligned, "gather scatter scatter_add");
  Add(table, Reduction,
      "sum mean nansum prod amax amin any all argmax argmin median "
      "logsumexp var std cummax cummin frobenius_norm count_nonzero");
  Add(table, ReductionOrElementwise, "max min");
}

void AddLayers(Table& table) {
  Add(table, Matmul, "matmul mm bmm mv");
  Add(table, AddProduct, "addmm baddbmm addmv");
  Add(table, Linear, "linear");
  Add(table, Bilinear, "bilinear");
  Add(table, Convolution, "convolution _convolution");
  Add(table, BatchNorm, "batch_norm _batch_norm_impl_index");
  Add(table, BatchNormWithoutTraining, "_native_batch_norm_legit_no_training");
  Add(table, FirstDimension,
      "group_norm native_group_norm instance_norm pixel_shuffle "
      "pixel_unshuffle channel_shuffle im2col col2im upsample_nearest1d "
      "upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d "
      "_upsample_nearest_exact2d upsample_linear1d upsample_bilinear2d "
      "upsample_bicubic2d upsample_trilinear3d _upsample_bilinear2d_aa");
  Add(table, LayerNorm,
      "layer_norm native_layer_norm rms_norm _fused_rms_norm");
  Add(table, Pad,
      "pad _pad_enum constant_pad_nd reflection_pad1d reflection_pad2d "
      "reflection_pad3d replication_pad1d replication_pad2d "
      "replication_pad3d");
  Add(table, TrailingOne,
      "max_pool1d max_pool1d_with_indices avg_pool1d adaptive_avg_pool1d "
      "adaptive_max_pool1d");
  Add(table, TrailingTwo,
      "max_pool2d max_pool2d_with_indices avg_pool2d adaptive_avg_pool2d "
      "_adaptive_avg_pool2d adaptive_max_pool2d triu tril");
  Add(table, TrailingThree,
      "max_pool3d max_pool3d_with_indices avg_pool3d adaptive_avg_pool3d "
      "_adaptive_avg_pool3d adaptive_max_pool3d");
  Add(table, Prelu, "prelu");
  Add(table, Embedding, "embedding");
  Add(table, EmbeddingBag, "embedding_bag");
  Add(table, OneHot, "one_hot");
  Add(table, Attention, "scaled_dot_product_attention");
}

const Table& Rules() {
  static const Table& table = *[] {
    auto* rules = new Table();
    AddElementwise(*rules);
    AddShapes(*rules);
    AddAlong(*rules);
    AddLayers(*rules);
    return rules;
  }();
  return table;
}

}  // namespace

FlowRule FindFlowRule(absl::string_view name) {
  if (!absl::ConsumePrefix(&name, "aten::")) return nullptr;
  const Table& rules = Rules();
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
  static const auto& names = *new std::set<absl::string_view>(absl::StrSplit(
      "conv1d conv2d conv3d conv_transpose1d conv_transpose2d "
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
