// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Exact influence functions of linear and logistic regression, in closed form:
// no autograd, no module, only weights and data.
//
//   INFLUENCE_ASSIGN_OR_RETURN(
//       const auto model,
//       GeneralizedLinearModel::Create(
//           GeneralizedLinearLoss::kBinaryCrossEntropyWithLogits, weight,
//           bias));
//   INFLUENCE_ASSIGN_OR_RETURN(const auto influence,
//                              GeneralizedLinearInfluence::Create(model));
//   INFLUENCE_RETURN_IF_ERROR(influence->Fit(data));
//   INFLUENCE_ASSIGN_OR_RETURN(at::Tensor scores,
//                              influence->Influences(test, train));
#ifndef INFLUENCE_INFLUENCE_GENERALIZED_LINEAR_INFLUENCE_H_
#define INFLUENCE_INFLUENCE_GENERALIZED_LINEAR_INFLUENCE_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/progress.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/generalized_linear_model.h"
#include "influence/influence_function_model.h"
#include "influence/influence_mode.h"
#include "influence/prepared_queries.h"
#include "operators/curvature.h"
#include "operators/direct_inverse.h"

namespace influence {

struct GeneralizedLinearInfluenceOptions {
  // C. For these models kGeneralizedGaussNewton is kHessian.
  Curvature curvature = Curvature::kHessian;

  // lambda, finite and >= 0; where not given, a tenth of the mean diagonal
  // entry of the Gauss-Newton matrix, 0.1 * mean_n |g_n|^2 / P.
  std::optional<double> regularization;
};

// A = C + lambda I over all parameters, formed and factorised. The loss is the
// query function. Results are float64 whatever the data's dtype. Thread-safe
// after Fit(). Memory: 16 P^2 bytes, and a batch.
class GeneralizedLinearInfluence : public InfluenceFunctionModel {
 public:
  // kInvalidArgument if `model` is null or the regularization is out of range.
  static absl::StatusOr<std::unique_ptr<GeneralizedLinearInfluence>> Create(
      std::shared_ptr<const GeneralizedLinearModel> model,
      const GeneralizedLinearInfluenceOptions& options = {});

  int64_t num_parameters() const override { return model_->num_parameters(); }
  bool is_thread_safe() const override { return true; }
  bool is_fitted() const override { return inverse_ != nullptr; }
  int64_t num_fitted_samples() const override { return num_fitted_samples_; }

  const GeneralizedLinearModel& model() const { return *model_; }

  // A^-1, with C and lambda as used; null before Fit().
  const std::shared_ptr<const DirectInverse>& inverse() const {
    return inverse_;
  }

  // grad l(z_j)^T A^-1 grad l(z_j), [N]: the diagonal of Influences(train).
  // 2 N P^2 operations, in memory that does not grow with P * N.
  absl::StatusOr<at::Tensor> SelfInfluences(const Batch& train) const;

  // A model fitted to the same data with another lambda; costs a factorisation.
  // kFailedPrecondition before Fit(); kInvalidArgument on a bad value.
  absl::StatusOr<std::unique_ptr<GeneralizedLinearInfluence>>
  WithRegularization(double regularization) const;

 protected:
  // The costs of GeneralizedLinearModel::DenseHessian() or DenseGaussNewton(),
  // of a factorisation and, where lambda is not given, of a pass over the data.
  absl::Status DoFit(std::shared_ptr<const BatchSequence> data,
                     ProgressReporter* progress) override;
  absl::StatusOr<at::Tensor> DoInfluenceFactors(
      const Batch& test) const override;
  absl::StatusOr<at::Tensor> DoInfluences(const Batch& test,
                                          const std::optional<Batch>& train,
                                          InfluenceMode mode,
                                          int64_t input) const override;
  absl::StatusOr<std::unique_ptr<const PreparedQueries>> DoPrepareQueries(
      const Batch& test) const override;

  // kUp: 2 M N P operations; kPerturbation: 3 times as many.
  absl::StatusOr<at::Tensor> DoInfluencesFromFactors(
      const at::Tensor& factors, const Batch& train, InfluenceMode mode,
      int64_t input) const override;

 private:
  GeneralizedLinearInfluence(
      std::shared_ptr<const GeneralizedLinearModel> model,
      const GeneralizedLinearInfluenceOptions& options);
  GeneralizedLinearInfluence(const GeneralizedLinearInfluence&) = default;

  std::shared_ptr<const GeneralizedLinearModel> model_;  // Never null.
  GeneralizedLinearInfluenceOptions options_;
  std::shared_ptr<const DirectInverse> inverse_;
  int64_t num_fitted_samples_ = 0;
};

}  // namespace influence

#endif  // INFLUENCE_INFLUENCE_GENERALIZED_LINEAR_INFLUENCE_H_
