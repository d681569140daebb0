// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/curvature_graph.h"

#include <memory>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/ones_like.h"
#include "ATen/ops/zeros.h"
#include "ATen/ops/zeros_like.h"
#include "absl/status/status.h"
#include "base/status_macros.h"
#include "gradients/model.h"
#include "torch/csrc/autograd/autograd.h"

namespace influence {
namespace {

using Vectors = CurvatureGraph::Vectors;

// sum_i d(outputs_i . seeds_i) / d inputs, over the pairs of which both are
// defined and which depend on something; undefined where nothing depends on an
// input. The graph stays usable.
Vectors Differentiate(const Vectors& outputs, const Vectors& seeds,
                      const Vectors& inputs, bool create_graph) {
  Vectors active_outputs;
  Vectors active_seeds;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!outputs[i].defined() || !outputs[i].requires_grad()) continue;
    if (!seeds[i].defined()) continue;
    active_outputs.push_back(outputs[i]);
    active_seeds.push_back(seeds[i]);
  }
  if (active_outputs.empty() || inputs.empty()) return Vectors(inputs.size());
  return torch::autograd::grad(active_outputs, inputs, active_seeds,
                               /*retain_graph=*/true, create_graph,
                               /*allow_unused=*/true);
}

Vectors Tensors(const GradientProvider& provider,
                const std::vector<int64_t>& parameters) {
  Vectors tensors;
  for (const int64_t index : parameters) {
    tensors.push_back(provider.model().parameters()[index].tensor);
  }
  return tensors;
}

Vectors Pick(const Vectors& tensors, const std::vector<size_t>& indices) {
  Vectors picked;
  for (const size_t index : indices) picked.push_back(tensors[index]);
  return picked;
}

class HessianGraph : public CurvatureGraph {
 public:
  HessianGraph(Vectors parameters, Vectors gradients)
      : parameters_(std::move(parameters)), gradients_(std::move(gradients)) {}

  Vectors Product(const Vectors& v,
                  const std::vector<size_t>& outputs) const override {
    return Differentiate(gradients_, v, Pick(parameters_, outputs),
                         /*create_graph=*/false);
  }

 private:
  Vectors parameters_;
  Vectors gradients_;  // Of sum_n l_n, with their own graph.
};

// f is the model's output, u a free vector of its shape. J v is the derivative
// of (J^T u)^T v in u.
class GeneralizedGaussNewtonGraph : public CurvatureGraph {
 public:
  GeneralizedGaussNewtonGraph(Vectors parameters, at::Tensor output,
                              at::Tensor free, Vectors pullback,
                              at::Tensor detached_output,
                              at::Tensor loss_gradient)
      : parameters_(std::move(parameters)),
        output_(std::move(output)),
        free_(std::move(free)),
        pullback_(std::move(pullback)),
        detached_output_(std::move(detached_output)),
        loss_gradient_(std::move(loss_gradient)) {}

  Vectors Product(const Vectors& v,
                  const std::vector<size_t>& outputs) const override {
    const Vectors jv =
        Differentiate(pullback_, v, {free_}, /*create_graph=*/false);
    const Vectors hjv = Differentiate({loss_gradient_}, jv, {detached_output_},
                                      /*create_graph=*/false);
    return Differentiate({output_}, hjv, Pick(parameters_, outputs),
                         /*create_graph=*/false);
  }

 private:
  Vectors parameters_;
  at::Tensor output_;           // f(x; theta)
  at::Tensor free_;             // u
  Vectors pullback_;            // J^T u, linear in u, with its graph.
  at::Tensor detached_output_;  // f as a leaf.
  at::Tensor loss_gradient_;    // d sum_n l_n / d f, with its graph.
};

}  // namespace

absl::StatusOr<std::unique_ptr<const CurvatureGraph>> CreateHessianGraph(
    const GradientProvider& provider, const std::vector<int64_t>& parameters,
    const Batch& batch) {
  at::AutoGradMode enable_grad(true);
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor output,
                             provider.model().Forward(batch.x));
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor losses,
                             provider.function().Evaluate(output, batch.y));
  Vectors tensors = Tensors(provider, parameters);
  const at::Tensor loss = losses.sum();
  Vectors gradients = Differentiate({loss}, {at::ones_like(loss)}, tensors,
                                    /*create_graph=*/true);
  return std::make_unique<const HessianGraph>(std::move(tensors),
                                              std::move(gradients));
}

absl::StatusOr<std::unique_ptr<const CurvatureGraph>>
CreateGeneralizedGaussNewtonGraph(const GradientProvider& provider,
                                  const std::vector<int64_t>& parameters,
                                  const Batch& batch) {
  at::AutoGradMode enable_grad(true);
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor output,
                             provider.model().Forward(batch.x));
  at::Tensor detached_output = output.detach().requires_grad_(true);
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor losses, provider.function().Evaluate(
                                                    detached_output, batch.y));
  const at::Tensor loss = losses.sum();
  at::Tensor loss_gradient =
      Differentiate({loss}, {at::ones_like(loss)}, {detached_output},
                    /*create_graph=*/true)[0];
  Vectors tensors = Tensors(provider, parameters);
  at::Tensor free = at::zeros_like(output.detach()).requires_grad_(true);
  Vectors pullback =
      Differentiate({output}, {free}, tensors, /*create_graph=*/true);
  return std::make_unique<const GeneralizedGaussNewtonGraph>(
      std::move(tensors), std::move(output), std::move(free),
      std::move(pullback), std::move(detached_output),
      std::move(loss_gradient));
}

at::Tensor MatrixProduct(const CurvatureGraph& graph,
                         const GradientProvider& provider,
                         const at::Tensor& matrix) {
  const Vectors tensors = Tensors(provider, provider.selection());
  std::vector<size_t> outputs(tensors.size());
  for (size_t p = 0; p < tensors.size(); ++p) outputs[p] = p;
  at::Tensor result = at::zeros(matrix.sizes(), matrix.options());
  for (int64_t k = 0; k < matrix.size(0); ++k) {
    const at::Tensor row = matrix[k];
    Vectors v;
    int64_t offset = 0;
    for (const at::Tensor& tensor : tensors) {
      v.push_back(
          row.narrow(0, offset, tensor.numel()).reshape(tensor.sizes()));
      offset += tensor.numel();
    }
    const Vectors products = graph.Product(v, outputs);
    offset = 0;
    for (size_t p = 0; p < tensors.size(); ++p) {
      const int64_t size = tensors[p].numel();
      if (products[p].defined()) {
        result[k].narrow(0, offset, size).copy_(products[p].reshape({size}));
      }
      offset += size;
    }
  }
  return result;
}

}  // namespace influence
