// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Products with the curvature C of the mean loss over a data set, for methods
// that take hundreds of them: what depends on the data alone is built once and
// kept.
#ifndef INFLUENCE_OPERATORS_KEPT_CURVATURE_OPERATOR_H_
#define INFLUENCE_OPERATORS_KEPT_CURVATURE_OPERATOR_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "operators/curvature.h"
#include "operators/curvature_graph.h"
#include "operators/kept_gradients.h"
#include "operators/operator.h"

namespace influence {

// Memory of a graph that is differentiated twice, in that of the gradients'
// factors: activations and output gradients once more for each of the passes
// that it is made of.
inline constexpr int64_t kCurvatureGraphFactors = 8;

struct KeptCurvatureOptions {
  // Bytes that what is kept may take, by an estimate, >= 0.
  int64_t memory_limit = int64_t{1} << 29;

  // Whether second derivatives are looked at first (second_derivative_check.h).
  bool check_second_derivatives = true;
};

// Keeps, of small batches put together (batch_merger.h), the autograd graphs of
// the Hessian or the generalised Gauss-Newton matrix, cut into as many parts as
// LibTorch has threads, which then work side by side; of the Gauss-Newton
// matrix the gradients' factors. A product then costs no pass over the data and
// no forward pass: for a model of a few thousand parameters that is most of it.
//
// A graph is taken to need eight times the memory of the factors of its
// gradients. Where that is too much, Apply() reads the data and builds graphs
// anew each time, as a BatchAveragingOperator does.
//
// Thread-safe; threads wait for each other where graphs are kept. The model's
// parameters must not change meanwhile.
class KeptCurvatureOperator : public Operator {
 public:
  // Of the provider's parameters. Reads the data once. kInvalidArgument if an
  // argument is null, the data are empty or the limit is negative; otherwise
  // what reading and graphs fail with.
  static absl::StatusOr<std::shared_ptr<const KeptCurvatureOperator>> Create(
      Curvature curvature, std::shared_ptr<const GradientProvider> provider,
      std::shared_ptr<const BatchSequence> data,
      const KeptCurvatureOptions& options = {});

  int64_t input_size() const override { return provider_->num_parameters(); }

  bool is_kept() const { return rebuilt_ == nullptr; }

 protected:
  // Operands have the model's dtype; batches are added up in float64.
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override;

 private:
  explicit KeptCurvatureOperator(
      std::shared_ptr<const GradientProvider> provider);

  // Builds graphs_; false, with none, if they would take more than the limit.
  absl::StatusOr<bool> BuildGraphs(Curvature curvature,
                                   const BatchSequence& data,
                                   const KeptCurvatureOptions& options);

  absl::StatusOr<at::Tensor> GradientProduct(const at::Tensor& matrix) const;
  absl::StatusOr<at::Tensor> GraphProduct(const at::Tensor& matrix) const;

  std::shared_ptr<const GradientProvider> provider_;
  int64_t num_samples_ = 0;

  // One of the three.
  std::shared_ptr<const Operator> rebuilt_;
  std::shared_ptr<const KeptGradients> gradients_;
  std::vector<std::unique_ptr<const CurvatureGraph>> graphs_;

  mutable std::mutex mutex_;  // A product locks the graphs' nodes.
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_KEPT_CURVATURE_OPERATOR_H_
