// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Which parameters of which blocks have Kronecker-factored curvature.
#ifndef INFLUENCE_OPERATORS_KRONECKER_LAYERS_H_
#define INFLUENCE_OPERATORS_KRONECKER_LAYERS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "gradients/affine_layers.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"

namespace influence {

struct KroneckerLayer {
  // "conv1" for a weight "conv1.weight"; the weight's name where that does not
  // end in ".weight".
  std::string name;
  int64_t block;  // Index into ParameterBlocks::blocks().
  // Without its bias where that is not in the same block.
  AffineLayer affine;

  // Whether a has an appended 1, and I with it.
  bool has_bias() const { return affine.bias.has_value(); }
  int64_t num_inputs() const { return affine.inputs + (has_bias() ? 1 : 0); }
};

struct UncoveredParameter {
  int64_t parameter;      // Index into Model::parameters().
  int64_t block;          // Index into ParameterBlocks::blocks().
  std::string reason;     // "used by an embedding".
  bool too_wide = false;  // By max_factor_size.
};

// Every parameter of the blocks, once: as the weight or bias of a layer, or
// uncovered.
struct KroneckerLayers {
  std::vector<KroneckerLayer> layers;         // In the order of the blocks.
  std::vector<UncoveredParameter> uncovered;  // Likewise.
};

// A layer with more inputs (with the appended 1) or outputs than
// max_factor_size, of a group, is none, unless that is 0: its parameters are
// uncovered, "4609 inputs, more than the largest factor size 1000".
KroneckerLayers FindKroneckerLayers(const Model& model,
                                    const AffineLayers& layers,
                                    const ParameterBlocks& blocks,
                                    int64_t max_factor_size = 0);

// "embedding.weight (used by an embedding), norm.weight (used by ...)".
std::string UncoveredParametersText(
    const Model& model, const std::vector<UncoveredParameter>& uncovered);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_KRONECKER_LAYERS_H_
