// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Per-sample gradients of a function l(theta; z) = l(f_theta(x), y) of one
// sample, with respect to a model's trainable parameters or a subset of them.
//
// Shapes: N samples, P scalars in the selected parameters (each flattened
// row-major, in the order of the selection), n scalars in one sample of one
// input. dtype of all results: the model's.
#ifndef INFLUENCE_GRADIENTS_GRADIENT_PROVIDER_H_
#define INFLUENCE_GRADIENTS_GRADIENT_PROVIDER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gradients/batch.h"
#include "gradients/factored_gradients.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"

namespace influence {

// Immutable; as thread-safe as the model. Every method checks the batch
// (ValidateBatch) and that the resulting gradients are finite:
// kInvalidArgument, naming the parameter and the sample, where they are not.
class GradientProvider {
 public:
  virtual ~GradientProvider() = default;

  const Model& model() const { return *model_; }
  const std::shared_ptr<const Model>& shared_model() const { return model_; }
  const PerSampleFunction& function() const { return function_; }

  // Indices into model().parameters(), in the order of the flat vector.
  const std::vector<int64_t>& selection() const { return selection_; }

  // P.
  int64_t num_parameters() const { return num_parameters_; }

  // grad l(theta; z_n) as factors. One forward and one backward pass for what a
  // layer rule covers.
  absl::StatusOr<FactoredGradients> FactoredGrads(const Batch& batch) const;

  // grad l(theta; z_n)^T g_k for g [K, P] -> [N, K], or [P] -> [N]. Never
  // builds [N, P]. kInvalidArgument on a g of another shape or dtype or not
  // finite.
  absl::StatusOr<at::Tensor> JacobianProd(const Batch& batch,
                                          const at::Tensor& g) const;

  // grad l(theta; z_n), [N, P].
  absl::StatusOr<at::Tensor> FlatGrads(const Batch& batch) const;

  // d/dx_n grad l(theta; z_n) for input number `input`, [N, n, P].
  // kInvalidArgument if that input is not floating. min(P, N n) backward passes
  // at least; meant for small models and tests.
  absl::StatusOr<at::Tensor> FlatMixedGrads(const Batch& batch,
                                            int64_t input = 0) const;

  // d/dx_n [ g_k^T grad l(theta; z_n) ] for g [K, P] -> [K, N, *x], or [P] ->
  // [1, N, *x]: what
  // FlatMixedGrads contracts to, by one double backward pass a row of g.
  // Memory O(K N n). kInvalidArgument if that input is not floating;
  // kInternal, naming the operator, if one has no second derivative.
  absl::StatusOr<at::Tensor> MixedProd(const Batch& batch, const at::Tensor& g,
                                       int64_t input = 0) const;

  // The same provider for the parameters `indices` into model().parameters().
  // kInvalidArgument on an empty list, an index out of range or a repeated one.
  absl::StatusOr<std::shared_ptr<const GradientProvider>> Restrict(
      std::vector<int64_t> indices) const;

  // The same provider for another function of the output.
  std::shared_ptr<const GradientProvider> WithFunction(
      PerSampleFunction function) const;

 protected:
  // Of all trainable parameters.
  GradientProvider(std::shared_ptr<const Model> model,
                   PerSampleFunction function);
  GradientProvider(const GradientProvider&) = default;

  // The gradients of the parameters selection(), in that order. `batch` is
  // valid. May throw; follows no grad mode but its own.
  virtual absl::StatusOr<FactoredGradients> DoFactoredGrads(
      const Batch& batch) const = 0;

  virtual std::shared_ptr<GradientProvider> Clone() const = 0;

 private:
  // g is [P] or [K, P], finite and of the model's dtype.
  absl::Status ValidateDirections(const at::Tensor& g) const;

  // The parameters of selection().
  std::vector<at::Tensor> SelectedTensors() const;

  // sum_n l_n with input number `input` taken from `leaf`.
  absl::StatusOr<at::Tensor> SumOfValues(const Batch& batch,
                                         const at::Tensor& leaf,
                                         int64_t input) const;

  // MixedProd() for valid arguments, g [K, P]. May throw.
  absl::StatusOr<at::Tensor> DoMixedProd(const Batch& batch,
                                         const at::Tensor& g,
                                         int64_t input) const;

  // FlatMixedGrads() by a backward pass an entry of the input. May throw.
  absl::StatusOr<at::Tensor> MixedGradsByEntry(const Batch& batch,
                                               int64_t input) const;

  std::shared_ptr<const Model> model_;
  PerSampleFunction function_;
  std::vector<int64_t> selection_;
  int64_t num_parameters_ = 0;
};

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_GRADIENT_PROVIDER_H_
