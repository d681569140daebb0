// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/kronecker_testing.h"

#include <algorithm>
#include <cstddef>
#include <tuple>
#include <utility>

#include "ATen/ops/arange.h"
#include "ATen/ops/diag.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/full.h"
#include "ATen/ops/inverse.h"
#include "ATen/ops/kron.h"
#include "ATen/ops/linalg_qr.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/stack.h"
#include "ATen/ops/zeros.h"
#include "gradients/gradient_term.h"
#include "operators/problem_testing.h"
#include "tests/support/function_model.h"

namespace influence {
namespace {

at::Tensor RandomEigenvectors(int64_t size, uint64_t seed) {
  return std::get<0>(
      at::linalg_qr(SeededNormal({size, size}, at::kDouble, seed)));
}

at::Tensor Falling(int64_t size, double decay) {
  return at::arange(1, size + 1, at::kDouble).pow(-decay);
}

// Pair by pair, the scalar that each entry of [O, I] stands for, int64 [O * I],
// row-major, counted in the block.
at::Tensor FlatIndices(const KroneckerFactors& factors,
                       const std::vector<int64_t>& offsets) {
  const int64_t o = factors.num_outputs();
  const int64_t inputs =
      factors.num_inputs() - (factors.bias.has_value() ? 1 : 0);
  at::Tensor indices = at::full({o, factors.num_inputs()}, -1, at::kLong);
  for (int64_t row = 0; row < o; ++row) {
    for (int64_t i = 0; i < inputs; ++i) {
      indices[row][i].fill_(
          offsets[factors.weight] + factors.weight_offset +
          (factors.input_major ? i * o + row : row * inputs + i));
    }
    if (factors.bias.has_value()) {
      indices[row][inputs].fill_(offsets[*factors.bias] + factors.bias_offset +
                                 row);
    }
  }
  return indices.reshape({-1});
}

std::vector<int64_t> Offsets(const Model& model) {
  std::vector<int64_t> offsets = {0};
  for (const NamedParameter& parameter : model.parameters()) {
    offsets.push_back(offsets.back() + parameter.tensor.numel());
  }
  return offsets;
}

}  // namespace

KroneckerFactors WithRandomFactors(KroneckerFactors factors, int64_t o,
                                   int64_t i, uint64_t seed, double decay,
                                   int64_t gradient_rank, int64_t input_rank) {
  const int64_t q = gradient_rank > 0 ? gradient_rank : o;
  const int64_t r = input_rank > 0 ? input_rank : i;
  factors.input_eigenvectors = RandomEigenvectors(i, seed).narrow(1, 0, r);
  factors.gradient_eigenvectors =
      RandomEigenvectors(o, seed + 1).narrow(1, 0, q);
  factors.input_eigenvalues = Falling(r, decay);
  factors.gradient_eigenvalues = Falling(q, decay);
  // A uniform number from the phase of a normal one.
  const at::Tensor noise =
      SeededNormal({q, r}, at::kDouble, seed + 2, 1e3).remainder(1).add(1);
  factors.eigenvalues = factors.gradient_eigenvalues.unsqueeze(1)
                            .mul(factors.input_eigenvalues.unsqueeze(0))
                            .mul(noise);
  return factors;
}

KroneckerProblem MakeKroneckerProblem(KroneckerLayout layout,
                                      at::ScalarType dtype, uint64_t seed) {
  std::vector<NamedParameter> parameters;
  const auto add = [&](const std::string& name,
                       const std::vector<int64_t>& shape) {
    parameters.push_back({name, ParameterLike(at::zeros(shape, dtype))});
  };
  KroneckerCurvature curvature;
  curvature.num_samples = 10;
  const auto pair = [&](int64_t group, int64_t weight_offset, bool input_major,
                        std::optional<int64_t> bias, int64_t bias_offset,
                        int64_t o, int64_t i, int64_t gradient_rank = 0,
                        int64_t input_rank = 0) {
    KroneckerFactors factors;
    factors.layer = "layer";
    factors.group = group;
    factors.weight = 0;
    factors.weight_offset = weight_offset;
    factors.input_major = input_major;
    factors.bias = bias;
    factors.bias_offset = bias_offset;
    curvature.layers.push_back(WithRandomFactors(
        std::move(factors), o, i, seed + 10 * curvature.layers.size(),
        /*decay=*/2, gradient_rank, input_rank));
  };
  switch (layout) {
    case KroneckerLayout::kLinear:
      add("layer.weight", {3, 4});
      add("layer.bias", {3});
      pair(0, 0, false, 1, 0, 3, 5);
      break;
    case KroneckerLayout::kTall:
      add("layer.weight", {6, 3});
      add("layer.bias", {6});
      pair(0, 0, false, 1, 0, 6, 4);
      break;
    case KroneckerLayout::kNoBias:
      add("layer.weight", {3, 5});
      pair(0, 0, false, std::nullopt, 0, 3, 5);
      break;
    case KroneckerLayout::kInputMajor:
      add("layer.weight", {4, 3});
      add("layer.bias", {3});
      pair(0, 0, true, 1, 0, 3, 5);
      break;
    case KroneckerLayout::kGroups:
      add("layer.weight", {4, 2, 3});
      add("layer.bias", {4});
      pair(0, 0, false, 1, 0, 2, 7);
      pair(1, 12, false, 1, 2, 2, 7);
      break;
    case KroneckerLayout::kFused:
      add("layer.weight", {6, 4});
      add("layer.bias", {6});
      pair(0, 0, false, 1, 0, 2, 5);
      pair(0, 8, false, 1, 2, 2, 5);
      pair(0, 16, false, 1, 4, 2, 5);
      break;
    case KroneckerLayout::kDeficient:
      add("layer.weight", {4, 6});
      add("layer.bias", {4});
      pair(0, 0, false, 1, 0, 4, 7, /*gradient_rank=*/2, /*input_rank=*/3);
      break;
    case KroneckerLayout::kDeficientInputs:
      add("layer.weight", {3, 7});
      pair(0, 0, false, std::nullopt, 0, 3, 7, /*gradient_rank=*/0,
           /*input_rank=*/2);
      break;
    case KroneckerLayout::kDeficientOutputs:
      add("layer.weight", {6, 3});
      add("layer.bias", {6});
      pair(0, 0, false, 1, 0, 6, 4, /*gradient_rank=*/2, /*input_rank=*/0);
      break;
    case KroneckerLayout::kRest:
      add("layer.weight", {3, 4});
      add("layer.scale", {5});
      add("layer.left_out", {2});
      add("layer.bias", {3});
      pair(0, 0, false, 3, 0, 3, 5);
      curvature.diagonals.push_back(
          {1, SeededNormal({5}, at::kDouble, seed + 7).square()});
      curvature.dropped = {2};
      break;
  }
  KroneckerProblem problem;
  problem.model = std::make_shared<const FunctionModel>(
      parameters, [](const std::vector<at::Tensor>& x) { return x[0]; });
  problem.curvature =
      std::make_shared<const KroneckerCurvature>(std::move(curvature));
  problem.block = ParameterBlocks::Create(*problem.model, BlockStructure::kFull)
                      .blocks()[0];
  return problem;
}

at::Tensor DenseKroneckerInverse(const KroneckerProblem& problem,
                                 double regularization) {
  const std::vector<int64_t> offsets = Offsets(*problem.model);
  const int64_t size = offsets.back();
  at::Tensor c = at::zeros({size, size}, at::kDouble);
  for (const KroneckerFactors& factors : problem.curvature->layers) {
    const at::Tensor u = at::kron(factors.gradient_eigenvectors.contiguous(),
                                  factors.input_eigenvectors.contiguous());
    const at::Tensor dense =
        u.matmul(at::diag(factors.eigenvalues.reshape({-1}))).matmul(u.t());
    const at::Tensor indices = FlatIndices(factors, offsets);
    const int64_t* flat = indices.data_ptr<int64_t>();
    for (int64_t i = 0; i < indices.numel(); ++i) {
      for (int64_t j = 0; j < indices.numel(); ++j) {
        c[flat[i]][flat[j]].copy_(dense[i][j]);
      }
    }
  }
  for (const DiagonalFactor& diagonal : problem.curvature->diagonals) {
    c.diagonal()
        .narrow(0, offsets[diagonal.parameter], diagonal.diagonal.size(0))
        .copy_(diagonal.diagonal);
  }
  at::Tensor inverse =
      at::inverse(c.add(at::eye(size, at::kDouble), regularization));
  for (const int64_t parameter : problem.curvature->dropped) {
    const int64_t length = offsets[parameter + 1] - offsets[parameter];
    inverse.narrow(0, offsets[parameter], length).zero_();
    inverse.narrow(1, offsets[parameter], length).zero_();
  }
  return inverse;
}

FactoredGradients RandomGradients(const KroneckerProblem& problem,
                                  int64_t num_samples, int64_t positions,
                                  uint64_t seed) {
  const std::vector<NamedParameter>& all = problem.model->parameters();
  std::vector<FactoredParameter> parameters;
  parameters.reserve(all.size());
  for (const NamedParameter& parameter : all) {
    parameters.push_back({parameter.name, parameter.tensor.numel(), {}});
  }
  const at::ScalarType dtype = problem.model->dtype();
  // The groups of a convolution share a term; the parts of a fused projection
  // have one each.
  struct Stack {
    std::vector<at::Tensor> g, a;
  };
  std::vector<Stack> stacks;
  std::vector<const KroneckerFactors*> first;
  for (const KroneckerFactors& factors : problem.curvature->layers) {
    const int64_t inputs =
        factors.num_inputs() - (factors.bias.has_value() ? 1 : 0);
    if (factors.group == 0) {
      stacks.emplace_back();
      first.push_back(&factors);
    }
    seed += 2;
    stacks.back().g.push_back(SeededNormal(
        {num_samples, positions, factors.num_outputs()}, dtype, seed));
    stacks.back().a.push_back(
        SeededNormal({num_samples, positions, inputs}, dtype, seed + 1));
  }
  for (size_t s = 0; s < stacks.size(); ++s) {
    const KroneckerFactors& factors = *first[s];
    const at::Tensor g = at::stack(stacks[s].g, 1);  // [N, H, T, O]
    const at::Tensor a = at::stack(stacks[s].a, 1);
    parameters[factors.weight].terms.push_back(
        factors.input_major
            ? std::make_shared<OuterProductTerm>(factors.weight_offset, a, g)
            : std::make_shared<OuterProductTerm>(factors.weight_offset, g, a));
    if (factors.bias.has_value()) {
      parameters[*factors.bias].terms.push_back(std::make_shared<DenseTerm>(
          factors.bias_offset,
          g.sum(2).reshape({num_samples, g.size(1) * g.size(3)})));
    }
  }
  for (FactoredParameter& parameter : parameters) {
    if (!parameter.terms.empty()) continue;
    parameter.terms.push_back(std::make_shared<DenseTerm>(
        0, SeededNormal({num_samples, parameter.size}, dtype, ++seed)));
  }
  return FactoredGradients(num_samples, dtype, std::move(parameters));
}

}  // namespace influence
