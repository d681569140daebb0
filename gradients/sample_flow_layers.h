// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The rules of sample_flow_rules.h for layers: products, convolutions, pooling,
// normalization, embeddings, attention.
#ifndef INFLUENCE_GRADIENTS_SAMPLE_FLOW_LAYERS_H_
#define INFLUENCE_GRADIENTS_SAMPLE_FLOW_LAYERS_H_

#include "gradients/sample_flow_arguments.h"

namespace influence {

void AddLayerRules(FlowTable& table);

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_SAMPLE_FLOW_LAYERS_H_
