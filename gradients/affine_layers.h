// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Which parameters of a model are the weights and biases of Linear and
// convolution layers, and the inputs a and output gradients g of those layers:
// what Kronecker-factored approximations of curvature are made from.
#ifndef INFLUENCE_GRADIENTS_AFFINE_LAYERS_H_
#define INFLUENCE_GRADIENTS_AFFINE_LAYERS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/coverage_report.h"
#include "gradients/factored_gradients.h"
#include "gradients/layer_rule.h"
#include "gradients/model.h"

namespace influence {

// out = W a (+ b) at each position t of a sample, `groups` of them side by
// side: a Linear layer (H = 1), a convolution (a = the patch of the input under
// the kernel, t over the output's places), or a stack of weights in one batched
// product. A weight that is used several times has the positions of all uses.
//
// The gradient of a sample in group h is G = sum_t g_t a_t^T, [O, I]; in that
// of the bias, sum_t g_t.
struct AffineLayer {
  int64_t weight;               // Index into Model::parameters().
  std::optional<int64_t> bias;  // Likewise; H * O scalars.
  int64_t groups;               // H
  int64_t outputs, inputs;      // Of one group: O and I.
  bool input_major;             // W is H matrices [I, O], not [O, I].
  // Whether some use adds the bias by an operator of its own (as torch::nn does
  // for inputs of three dimensions). Then a model may use the product in
  // between as well, and FactorsOfLayer() compares.
  bool bias_apart = false;
};

struct AffineLayers {
  std::vector<AffineLayer> layers;  // In the order of their weights.

  // By parameter of the model: why it belongs to no layer; empty if it does.
  std::vector<std::string> reasons;
};

// One captured use of parameters, in the order of the model's calls.
struct LayerUse {
  std::string operator_name;
  std::vector<ParameterArgument> parameters;
  std::optional<AffineCall> affine;
  std::optional<AdditionCall> addition;
  std::vector<int64_t> producers;  // OperatorCall::producers.
};

// A parameter is a weight if it is covered and every use is an AffineCall of
// the whole parameter, in one shape. A bias belongs to a weight if it is
// covered and all of it is added, unscaled, to the output of each use of that
// weight and to nothing else: by the same call, or by a sum whose other operand
// is that output. Everything else has a reason.
AffineLayers FindAffineLayers(const std::vector<NamedParameter>& parameters,
                              const std::vector<LayerUse>& uses,
                              const CoverageReport& coverage);

// a and g of one use, of the gradients' dtype, any strides.
struct LayerFactors {
  at::Tensor inputs;     // [N, H, T, I]
  at::Tensor gradients;  // [N, H, T, O]
  // OuterProductTerm::real_positions().
  at::Tensor real_positions = at::Tensor();

  // Of all samples.
  int64_t num_positions() const;
};

// The factors of a layer's uses (those that the function depends on), views of
// the terms of its weight. `bias`: the gradients of the layer's bias, or null
// to look at none. kFailedPrecondition, naming the parameter, if the gradients
// are not in factors of the layer's shape (the model called other operators
// than when it was observed), or if those of the bias are not the sums of g to
// rounding, which is looked at only where bias_apart.
absl::StatusOr<std::vector<LayerFactors>> FactorsOfLayer(
    const AffineLayer& layer, const FactoredParameter& weight,
    const FactoredParameter* bias);

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_AFFINE_LAYERS_H_
