// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/rules/embedding_rule.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "gradients/gradient_term.h"
#include "gradients/layer_rule.h"
#include "gradients/sample_axis.h"

namespace influence {
namespace {

// Arguments of aten::embedding.
constexpr size_t kWeight = 0;
constexpr size_t kIndices = 1;
constexpr size_t kPaddingIndex = 2;
constexpr size_t kScaleByFrequency = 3;

// The rows that receive a gradient, -1 for a position that holds padding_idx.
at::Tensor Rows(const OperatorCall& call) {
  const at::Tensor rows = call.inputs[kIndices].toTensor().to(at::kLong);
  const int64_t padding = call.inputs[kPaddingIndex].toInt();
  return padding >= 0 ? rows.masked_fill(rows.eq(padding), -1) : rows;
}

}  // namespace

std::vector<std::string> EmbeddingRule::operators() const {
  return {"aten::embedding"};
}

std::vector<size_t> EmbeddingRule::CoveredArguments(
    const OperatorCall& call) const {
  // Scaling by a token's frequency in the batch couples the samples.
  if (call.parameters.size() != 1 || call.parameters[0].position != kWeight ||
      call.inputs[kScaleByFrequency].toBool() ||
      !call.inputs[kWeight].toTensor().is_contiguous()) {
    return {};
  }
  return {kWeight};
}

std::vector<size_t> EmbeddingRule::ValueArguments(const OperatorCall&) const {
  return {kIndices};
}

bool EmbeddingRule::SupportsAxis(const OperatorCall& call,
                                 const SampleAxis& axis) const {
  return axis.dim < static_cast<int64_t>(call.output_shape.size()) - 1;
}

std::vector<ParameterTerm> EmbeddingRule::Terms(
    const OperatorCall& call, const at::Tensor& output_gradient,
    const SampleAxis& axis, int64_t num_samples) const {
  const at::Tensor& weight = call.inputs[kWeight].toTensor();
  const at::Tensor rows =
      SamplesFirst(Rows(call), axis, num_samples, 0).squeeze(-1);
  return {
      ParameterTerm{call.parameters[0].parameter,
                    std::make_shared<RowSparseTerm>(
                        call.parameters[0].offset, weight.size(0), rows,
                        SamplesFirst(output_gradient, axis, num_samples, 1))}};
}

std::shared_ptr<const GradientTerm> EmbeddingTermOfConstantOutput(
    const OperatorCall& call, const DenseTerm& output_term) {
  const at::Tensor& weight = call.inputs[kWeight].toTensor();
  const int64_t width = weight.size(1);
  const int64_t num_samples = output_term.num_samples();
  const int64_t count = output_term.size() / width;
  const at::Tensor rows =
      Rows(call).reshape({-1}).narrow(0, output_term.offset() / width, count);
  return std::make_shared<RowSparseTerm>(
      call.parameters[0].offset, weight.size(0),
      rows.unsqueeze(0).expand({num_samples, count}),
      output_term.gradients().reshape({num_samples, count, width}));
}

}  // namespace influence
