// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Linear and logistic regression in closed form, without autograd: outputs
// o = W x + b, a loss l(o, y) of one sample, and its derivatives
//   g    = r (x) x~                  gradient
//   H    = mean_n S_n (x) x~_n x~_n^T  Hessian of the mean loss
//   F    = mean_n r_n r_n^T (x) x~_n x~_n^T  Gauss-Newton matrix
// with x~ = (x, 1), r = dl/do, S = d^2 l / do^2 and (x) the Kronecker product:
//   mse            r = 2 (o - y) / K   S = 2 I / K
//   binary ... *   r = (p - y) / K     S = diag(p (1 - p)) / K
//   cross_entropy  r = p - e_y         S = diag(p) - p p^T
// * binary_cross_entropy_with_logits
// and p the sigmoid or softmax of o (McCullagh and Nelder 1989, section 2.2;
// Boehning 1992, section 2, for softmax). As o is linear in the parameters, H
// is also the generalised Gauss-Newton matrix, and positive semidefinite.
//
// Shapes: N samples, D features, K outputs, P = K D + K parameters (K D without
// intercept) in the flat order of a torch::nn::Linear: the weight [K, D] row by
// row, then the bias. Everything is computed in float64 and returned so.
#ifndef INFLUENCE_GRADIENTS_GENERALIZED_LINEAR_MODEL_H_
#define INFLUENCE_GRADIENTS_GENERALIZED_LINEAR_MODEL_H_

#include <cstdint>
#include <memory>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/progress.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/per_sample_function.h"

namespace influence {

enum class GeneralizedLinearLoss {
  kMeanSquaredError,              // Linear regression.
  kBinaryCrossEntropyWithLogits,  // Binary logistic regression, or K of them.
  kCrossEntropy,                  // Softmax regression.
};

// The names that LossByName() takes: "mse", "binary_cross_entropy_with_logits",
// "cross_entropy".
absl::string_view GeneralizedLinearLossName(GeneralizedLinearLoss loss);

// kInvalidArgument listing the names for another one.
absl::StatusOr<GeneralizedLinearLoss> ParseGeneralizedLinearLoss(
    absl::string_view name);

// Immutable and thread-safe. Every method checks its batches: kInvalidArgument
// if one fails ValidateBatch(), is not one floating input [N, D] with labels as
// the loss of that name wants them (mse and binary_cross_entropy_with_logits:
// exactly [N, K], never broadcast; cross_entropy: integers [N] in [0, K)), or
// leads to results that are not finite. float32 data is converted a few
// thousand rows at a time. Works on LibTorch's threads; what is summed over the
// samples differs between thread counts by rounding, the rest does not.
class GeneralizedLinearModel {
 public:
  // weight: [K, D]; bias: [K], or undefined for none. Floating and finite;
  // copied. kInvalidArgument naming the argument otherwise.
  static absl::StatusOr<std::shared_ptr<const GeneralizedLinearModel>> Create(
      GeneralizedLinearLoss loss, const at::Tensor& weight,
      const at::Tensor& bias = at::Tensor());

  GeneralizedLinearLoss loss() const { return loss_; }
  bool has_intercept() const { return bias_.defined(); }
  int64_t num_features() const { return weight_.size(1); }  // D
  int64_t num_outputs() const { return weight_.size(0); }   // K
  int64_t num_parameters() const;                           // P

  const at::Tensor& weight() const { return weight_; }  // float64 [K, D]
  const at::Tensor& bias() const { return bias_; }  // float64 [K], or undefined

  // The checks of `batch` that every method makes.
  absl::Status Validate(const Batch& batch) const;

  // o_n, [N, K].
  absl::StatusOr<at::Tensor> Outputs(const Batch& batch) const;

  // l_n, [N].
  absl::StatusOr<at::Tensor> Losses(const Batch& batch) const;

  // r_n = dl/do, [N, K]: with x, all there is to a gradient.
  absl::StatusOr<at::Tensor> OutputGrads(const Batch& batch) const;

  // g_n, [N, P].
  absl::StatusOr<at::Tensor> FlatGrads(const Batch& batch) const;

  // |g_n|^2 = |r_n|^2 |x~_n|^2, [N].
  absl::StatusOr<at::Tensor> SquaredGradNorms(const Batch& batch) const;

  // g_n^T v_q for v [Q, P] -> [N, Q], or [P] -> [N]. 2 N Q K D operations;
  // never [N, P].
  absl::StatusOr<at::Tensor> JacobianProd(const Batch& batch,
                                          const at::Tensor& v) const;

  // sum_n w_qn g_n for weights [Q, N] -> [Q, P], or [N] -> [P]: the transpose
  // of JacobianProd(), at the same cost.
  absl::StatusOr<at::Tensor> WeightedGradSums(const Batch& batch,
                                              const at::Tensor& weights) const;

  // g_m^T g_n for m of `left` and n of `right`, [M, N] = (r_m^T r_n)
  // (x~_m^T x~_n). 2 M N (D + K) operations.
  absl::StatusOr<at::Tensor> GradsInnerProd(const Batch& left,
                                            const Batch& right) const;

  // d/dx_n g_n, [N, D, P].
  absl::StatusOr<at::Tensor> FlatMixedGrads(const Batch& batch) const;

  // d/dx_n (g_n^T v_q) = V_q^T r_n + W^T S_n (V_q x_n + c_q), where (V_q, c_q)
  // are weight and bias in v_q, for v [Q, P] -> [Q, N, D], or [P] -> [1, N, D].
  // 6 N Q K D operations.
  absl::StatusOr<at::Tensor> MixedProd(const Batch& batch,
                                       const at::Tensor& v) const;

  // H v_q, the mean over the samples of `batch`, for v [Q, P] -> [Q, P], or [P]
  // -> [P]. 4 N Q K D operations.
  absl::StatusOr<at::Tensor> HessianProd(const Batch& batch,
                                         const at::Tensor& v) const;

  // F v_q in the same way.
  absl::StatusOr<at::Tensor> GaussNewtonProd(const Batch& batch,
                                             const at::Tensor& v) const;

  // The same, means over all samples of `data`, which is read once, a batch at
  // a time. kInvalidArgument if it has no samples.
  absl::StatusOr<at::Tensor> HessianProd(const BatchSequence& data,
                                         const at::Tensor& v) const;
  absl::StatusOr<at::Tensor> GaussNewtonProd(const BatchSequence& data,
                                             const at::Tensor& v) const;

  // H and F, [P, P], exactly symmetric. Reads `data` once and tells `progress`
  // after each batch. About N D^2 operations for each pair of outputs whose
  // block differs from the others': 1 of them (mse), K (binary cross entropy),
  // K (K - 1) / 2 (cross entropy), K (K + 1) / 2 (F). Memory: the result, up to
  // half as much again, and a batch. The same for any number of threads.
  absl::StatusOr<at::Tensor> DenseHessian(
      const BatchSequence& data, ProgressReporter* progress = nullptr) const;
  absl::StatusOr<at::Tensor> DenseGaussNewton(
      const BatchSequence& data, ProgressReporter* progress = nullptr) const;

 private:
  GeneralizedLinearModel(GeneralizedLinearLoss loss, PerSampleFunction function,
                         at::Tensor weight, at::Tensor bias);

  absl::StatusOr<at::Tensor> MeanProducts(bool gauss_newton, const Batch& batch,
                                          const at::Tensor& v) const;
  absl::StatusOr<at::Tensor> MeanProducts(bool gauss_newton,
                                          const BatchSequence& data,
                                          const at::Tensor& v) const;
  absl::StatusOr<at::Tensor> FormDense(bool gauss_newton,
                                       const BatchSequence& data,
                                       ProgressReporter* progress) const;

  GeneralizedLinearLoss loss_;
  PerSampleFunction function_;  // Only for its checks of the labels.
  at::Tensor weight_;           // [K, D], contiguous float64.
  at::Tensor bias_;             // [K], or undefined.
};

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_GENERALIZED_LINEAR_MODEL_H_
