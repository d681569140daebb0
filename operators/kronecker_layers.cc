// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/kronecker_layers.h"

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace influence {

namespace {

// Why the layer is too large for factors; empty if it is not.
std::string TooWide(const AffineLayer& layer, bool has_bias,
                    int64_t max_factor_size) {
  const int64_t inputs = layer.inputs + (has_bias ? 1 : 0);
  const bool wider_inputs = inputs >= layer.outputs;
  const int64_t width = wider_inputs ? inputs : layer.outputs;
  if (max_factor_size == 0 || width <= max_factor_size) return "";
  return absl::StrCat(width, wider_inputs ? " inputs" : " outputs",
                      ", more than the largest factor size ", max_factor_size);
}

}  // namespace

KroneckerLayers FindKroneckerLayers(const Model& model,
                                    const AffineLayers& layers,
                                    const ParameterBlocks& blocks,
                                    int64_t max_factor_size) {
  const size_t num_tensors = model.parameters().size();
  std::vector<int64_t> block_of(num_tensors, -1);
  for (size_t b = 0; b < blocks.blocks().size(); ++b) {
    for (const int64_t parameter : blocks.blocks()[b].parameters) {
      block_of[parameter] = static_cast<int64_t>(b);
    }
  }
  // By parameter: the layer whose weight it is, and what it is a bias of.
  std::vector<const AffineLayer*> by_weight(num_tensors, nullptr);
  std::vector<const AffineLayer*> by_bias(num_tensors, nullptr);
  for (const AffineLayer& layer : layers.layers) {
    by_weight[layer.weight] = &layer;
    if (layer.bias.has_value()) by_bias[*layer.bias] = &layer;
  }

  KroneckerLayers found;
  for (size_t b = 0; b < blocks.blocks().size(); ++b) {
    const int64_t block = static_cast<int64_t>(b);
    for (const int64_t parameter : blocks.blocks()[b].parameters) {
      const std::string& name = model.parameters()[parameter].name;
      if (by_weight[parameter] != nullptr) {
        KroneckerLayer layer{std::string(absl::StripSuffix(name, ".weight")),
                             block, *by_weight[parameter]};
        if (layer.has_bias() && block_of[*layer.affine.bias] != block) {
          layer.affine.bias.reset();
          layer.affine.bias_apart = false;
        }
        const std::string too_wide =
            TooWide(layer.affine, layer.has_bias(), max_factor_size);
        if (!too_wide.empty()) {
          found.uncovered.push_back(
              {parameter, block, too_wide, /*too_wide=*/true});
          continue;
        }
        found.layers.push_back(std::move(layer));
        continue;
      }
      const AffineLayer* biased = by_bias[parameter];
      if (biased != nullptr && block_of[biased->weight] == block) {
        const std::string too_wide =
            TooWide(*biased, /*has_bias=*/true, max_factor_size);
        if (!too_wide.empty()) {
          found.uncovered.push_back(
              {parameter, block, too_wide, /*too_wide=*/true});
        }
        continue;
      }
      found.uncovered.push_back(UncoveredParameter{
          parameter, block,
          biased != nullptr
              ? absl::StrCat("not in the block of ",
                             model.parameters()[biased->weight].name)
              : layers.reasons[parameter]});
    }
  }
  return found;
}

std::string UncoveredParametersText(
    const Model& model, const std::vector<UncoveredParameter>& uncovered) {
  return absl::StrJoin(
      uncovered, ", ",
      [&](std::string* out, const UncoveredParameter& parameter) {
        absl::StrAppend(out, model.parameters()[parameter.parameter].name, " (",
                        parameter.reason, ")");
      });
}

}  // namespace influence
