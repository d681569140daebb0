// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The autograd graph of one batch that gives products with a curvature matrix.
// It is built once and serves any number of products.
#ifndef INFLUENCE_OPERATORS_CURVATURE_GRAPH_H_
#define INFLUENCE_OPERATORS_CURVATURE_GRAPH_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/batch.h"
#include "gradients/gradient_provider.h"

namespace influence {

// One batch's curvature, SUMMED over its samples. Parameters are numbered by
// their place in the list that the graph was built for. One thread at a time
// per graph (a product locks the graph's nodes); threads use graphs of their
// own.
class CurvatureGraph {
 public:
  // v, an entry per parameter in its shape; an undefined one means zero.
  using Vectors = std::vector<at::Tensor>;

  virtual ~CurvatureGraph() = default;

  // The rows `outputs` of C v: an entry per output in the parameter's shape,
  // undefined where it is zero. May throw.
  virtual Vectors Product(const Vectors& v,
                          const std::vector<size_t>& outputs) const = 0;
};

// Of sum_n d^2 l(theta; z_n) / d theta^2. `parameters` are indices into
// provider.model().parameters(); the provider gives model and loss, its
// selection does not matter. Attention must be differentiable twice
// (differentiable_attention.h) here and in the products. May throw.
absl::StatusOr<std::unique_ptr<const CurvatureGraph>> CreateHessianGraph(
    const GradientProvider& provider, const std::vector<int64_t>& parameters,
    const Batch& batch);

// Of sum_n J_n^T H_n J_n.
absl::StatusOr<std::unique_ptr<const CurvatureGraph>>
CreateGeneralizedGaussNewtonGraph(const GradientProvider& provider,
                                  const std::vector<int64_t>& parameters,
                                  const Batch& batch);

// `graph` applied to every row of matrix [K, P], P the parameters of
// `provider`'s selection, for which the graph was built -> [K, P].
at::Tensor MatrixProduct(const CurvatureGraph& graph,
                         const GradientProvider& provider,
                         const at::Tensor& matrix);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_CURVATURE_GRAPH_H_
