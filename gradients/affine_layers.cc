// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/affine_layers.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/torch_boundary.h"
#include "gradients/gradient_term.h"

namespace influence {
namespace {

// What the uses say of one parameter.
struct ParameterUses {
  std::vector<size_t> as_weight;  // Uses, in order.
  // A use of a weight to whose output the parameter is added as a bias.
  std::vector<size_t> as_bias;
  bool bias_apart = false;
  std::string other;  // A use of any other kind, in words.
};

bool IsWhole(const NamedParameter& parameter, const ParameterArgument& argument,
             int64_t size) {
  return argument.offset == 0 && parameter.tensor.numel() == size;
}

bool SameShape(const AffineCall& a, const AffineCall& b) {
  return a.groups == b.groups && a.outputs == b.outputs &&
         a.inputs == b.inputs && a.input_major == b.input_major;
}

// The parameter at `position` of a call, or -1.
int64_t ParameterAt(const LayerUse& use, size_t position) {
  for (const ParameterArgument& argument : use.parameters) {
    if (argument.position == position) return argument.parameter;
  }
  return -1;
}

void Classify(const std::vector<NamedParameter>& parameters,
              const std::vector<LayerUse>& uses, size_t index,
              const ParameterArgument& argument, ParameterUses* found) {
  const LayerUse& use = uses[index];
  const NamedParameter& parameter = parameters[argument.parameter];
  if (use.affine.has_value() && use.affine->weight == argument.position) {
    const AffineCall& affine = *use.affine;
    if (!IsWhole(parameter, argument,
                 affine.groups * affine.outputs * affine.inputs)) {
      found->other =
          absl::StrCat("only a part of it is used by ", use.operator_name);
      return;
    }
    if (!found->as_weight.empty() &&
        !SameShape(affine, *uses[found->as_weight[0]].affine)) {
      found->other = "used as weights of different layouts";
      return;
    }
    found->as_weight.push_back(index);
    return;
  }
  if (use.affine.has_value() && use.affine->bias == argument.position &&
      IsWhole(parameter, argument, use.affine->groups * use.affine->outputs)) {
    found->as_bias.push_back(index);
    return;
  }
  if (use.addition.has_value() && use.addition->bias == argument.position &&
      use.addition->operand < use.producers.size()) {
    const int64_t producer = use.producers[use.addition->operand];
    if (producer >= 0) {
      const std::optional<AffineCall>& affine = uses[producer].affine;
      if (affine.has_value() && !affine->bias.has_value() &&
          affine->bias_shape == use.addition->bias_shape &&
          IsWhole(parameter, argument, affine->groups * affine->outputs)) {
        found->as_bias.push_back(static_cast<size_t>(producer));
        found->bias_apart = true;
        return;
      }
    }
  }
  found->other = absl::StrCat("used by ", use.operator_name);
}

// [N, H * O]: sum_t g.
at::Tensor SumOverPositions(const at::Tensor& gradients) {
  return gradients.sum({2}).reshape({gradients.size(0), -1});
}

}  // namespace

int64_t LayerFactors::num_positions() const {
  return real_positions.defined() ? real_positions.sum().item<int64_t>()
                                  : inputs.size(0) * inputs.size(2);
}

AffineLayers FindAffineLayers(const std::vector<NamedParameter>& parameters,
                              const std::vector<LayerUse>& uses,
                              const CoverageReport& coverage) {
  const int64_t num_tensors = static_cast<int64_t>(parameters.size());
  std::vector<ParameterUses> found(parameters.size());
  for (size_t i = 0; i < uses.size(); ++i) {
    for (const ParameterArgument& argument : uses[i].parameters) {
      // Beyond are the outputs of embeddings that stand for parameters.
      if (argument.parameter >= num_tensors) continue;
      Classify(parameters, uses, i, argument, &found[argument.parameter]);
    }
  }

  AffineLayers result;
  result.reasons.resize(parameters.size());
  const auto is_weight = [&](int64_t index) {
    return coverage.parameters[index].covered && found[index].other.empty() &&
           found[index].as_bias.empty() && !found[index].as_weight.empty();
  };
  std::vector<int64_t> layer_by_weight(parameters.size(), -1);
  for (int64_t i = 0; i < num_tensors; ++i) {
    // An embedding's uses may have become those of a derived parameter.
    if (!is_weight(i) ||
        coverage.parameters[i].rule.find("embedding") != std::string::npos) {
      continue;
    }
    const AffineCall& affine = *uses[found[i].as_weight[0]].affine;
    layer_by_weight[i] = static_cast<int64_t>(result.layers.size());
    result.layers.push_back(AffineLayer{i, std::nullopt, affine.groups,
                                        affine.outputs, affine.inputs,
                                        affine.input_major});
  }

  for (int64_t i = 0; i < num_tensors; ++i) {
    if (layer_by_weight[i] >= 0) continue;
    std::string& reason = result.reasons[i];
    const ParameterCoverage& covered = coverage.parameters[i];
    if (!covered.covered) {
      reason = covered.reason;
    } else if (covered.rule.find("embedding") != std::string::npos) {
      reason = "used by an embedding";
    } else if (!found[i].other.empty()) {
      reason = found[i].other;
    } else if (found[i].as_bias.empty()) {
      reason = "not used";
    } else if (!found[i].as_weight.empty()) {
      reason = "used as a weight and as a bias";
    }
    if (!reason.empty()) continue;

    const int64_t weight = ParameterAt(
        uses[found[i].as_bias[0]], uses[found[i].as_bias[0]].affine->weight);
    if (weight < 0 || weight >= num_tensors || layer_by_weight[weight] < 0) {
      reason = "the bias of a weight that is in no layer";
      continue;
    }
    std::vector<size_t> joined = found[i].as_bias;
    std::sort(joined.begin(), joined.end());
    if (joined != found[weight].as_weight) {
      reason = absl::StrCat("not added exactly once to each use of ",
                            parameters[weight].name);
      continue;
    }
    AffineLayer& layer = result.layers[layer_by_weight[weight]];
    if (layer.bias.has_value()) {
      reason = absl::StrCat("a second bias of ", parameters[weight].name);
      continue;
    }
    layer.bias = i;
    layer.bias_apart = found[i].bias_apart;
  }
  return result;
}

absl::StatusOr<std::vector<LayerFactors>> FactorsOfLayer(
    const AffineLayer& layer, const FactoredParameter& weight,
    const FactoredParameter* bias) {
  std::vector<LayerFactors> factors;
  for (const auto& term : weight.terms) {
    const auto* product = dynamic_cast<const OuterProductTerm*>(term.get());
    if (product == nullptr) {
      return absl::FailedPreconditionError(absl::StrCat(
          weight.name,
          ": found gradients that are not in factors, expected the operators "
          "that the model called when it was observed"));
    }
    const at::Tensor& inputs =
        layer.input_major ? product->left() : product->right();
    const at::Tensor& gradients =
        layer.input_major ? product->right() : product->left();
    if (term->offset() != 0 || inputs.size(1) != layer.groups ||
        inputs.size(3) != layer.inputs || gradients.size(3) != layer.outputs) {
      return absl::FailedPreconditionError(absl::StrCat(
          weight.name, ": found factors [", inputs.size(1), " x (",
          gradients.size(3), " + ", inputs.size(3), ")], expected [",
          layer.groups, " x (", layer.outputs, " + ", layer.inputs, ")]"));
    }
    factors.push_back(
        LayerFactors{inputs, gradients, product->real_positions()});
  }
  if (bias == nullptr || !layer.bias_apart) return factors;

  return CatchTorch(
      "gradients of a bias",
      [&]() -> absl::StatusOr<std::vector<LayerFactors>> {
        at::Tensor difference, scale;
        // `magnitudes`: what rounding errors are relative to.
        const auto add = [&](const at::Tensor& part, double sign,
                             const at::Tensor& magnitudes) {
          difference = difference.defined() ? difference.add(part, sign)
                                            : part.mul(sign);
          const at::Tensor largest = magnitudes.max();
          scale = scale.defined() ? scale.add(largest) : largest;
        };
        for (const LayerFactors& use : factors) {
          add(SumOverPositions(use.gradients), 1,
              SumOverPositions(use.gradients.abs()));
        }
        for (const auto& term : bias->terms) {
          const auto* dense = dynamic_cast<const DenseTerm*>(term.get());
          if (dense == nullptr || dense->size() != bias->size) {
            return absl::FailedPreconditionError(
                absl::StrCat(bias->name,
                             ": found gradients of another kind, expected the "
                             "operators that the model called when it was "
                             "observed"));
          }
          add(dense->gradients(), -1, dense->gradients().abs());
        }
        if (!difference.defined()) return factors;
        const double tolerance =
            difference.scalar_type() == at::kDouble ? 1e-9 : 1e-3;
        const double found = difference.abs().max().item<double>();
        if (found <= tolerance * scale.item<double>()) return factors;
        return absl::FailedPreconditionError(absl::StrCat(
            bias->name, ": found gradients that differ by ", found,
            " from those of the output of ", weight.name,
            ", expected a bias that is added to that output and nothing else "
            "done with it"));
      });
}

}  // namespace influence
