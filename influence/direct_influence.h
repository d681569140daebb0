// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Exact influence functions: the curvature C of each block is formed as a dense
// matrix and A = C + lambda I is factorised.
#ifndef INFLUENCE_INFLUENCE_DIRECT_INFLUENCE_H_
#define INFLUENCE_INFLUENCE_DIRECT_INFLUENCE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "base/progress.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "influence/composable_influence.h"
#include "influence/fitted_state.h"
#include "influence/regularization.h"
#include "operators/curvature.h"
#include "operators/direct_inverse.h"
#include "operators/operator.h"

namespace influence {

struct DirectInfluenceOptions {
  Curvature curvature = Curvature::kHessian;
  Regularization regularization;  // Auto.

  // Differentiated on the query side; the provider's loss where not given.
  std::optional<PerSampleFunction> query_function;

  int num_threads = 0;  // Of Fit(), as in DenseCurvatureOptions.

  // The processes that Fit() together, likewise. The automatic regularization
  // and the factorizations are each rank's own.
  std::shared_ptr<Communicator> communicator = nullptr;
};

// Thread-safe after Fit(). Memory after it: 16 P_b^2 bytes a block.
class DirectInfluence : public ComposableInfluence {
 public:
  // kInvalidArgument if `provider` is null or the regularization does not fit
  // the blocks.
  static absl::StatusOr<std::unique_ptr<DirectInfluence>> Create(
      std::shared_ptr<const GradientProvider> provider, ParameterBlocks blocks,
      const DirectInfluenceOptions& options = {});

  // From ExportState(); costs a factorisation a block. kInvalidArgument if the
  // state is of another method or does not fit the model.
  static absl::StatusOr<std::unique_ptr<DirectInfluence>> Restore(
      std::shared_ptr<const GradientProvider> provider,
      const FittedState& state,
      std::optional<PerSampleFunction> query_function = std::nullopt);

  bool is_thread_safe() const override { return true; }

  std::vector<BlockReport> report() const override;

  // C of each block, float64 [P_b, P_b]; empty before Fit().
  std::vector<at::Tensor> curvatures() const;

  // An eigendecomposition a block.
  absl::StatusOr<std::vector<at::Tensor>> CurvatureEigenvalues() const override;

  // Shares the dense curvatures; costs a factorisation of the blocks whose
  // value changes. Auto() is kFailedPrecondition unless the fit was made with
  // it.
  absl::StatusOr<std::unique_ptr<ComposableInfluence>> WithRegularization(
      const Regularization& regularization) const override;

 protected:
  // Costs of FormDenseCurvature() and of a factorisation a block.
  // kInvalidArgument, naming block and regularization, if an A is singular.
  absl::StatusOr<std::vector<std::shared_ptr<const Operator>>> FitOperators(
      std::shared_ptr<const BatchSequence> data,
      ProgressReporter* progress) override;

  // Arrays "<block>/curvature", float64 [P_b, P_b].
  absl::StatusOr<FittedState> DoExportState() const override;

 private:
  DirectInfluence(std::shared_ptr<const GradientProvider> provider,
                  ParameterBlocks blocks, DirectInfluenceOptions options);
  DirectInfluence(const DirectInfluence&) = default;

  // A curvature per block, or those that an earlier run has kept.
  absl::StatusOr<std::vector<at::Tensor>> FormCurvatures(
      const BatchSequence& data, ProgressReporter* progress) const;

  // Factorises a curvature per block with the values of `regularization`.
  absl::StatusOr<std::vector<std::shared_ptr<const DirectInverse>>> Factorize(
      std::vector<at::Tensor> curvatures,
      const std::vector<double>& regularization) const;

  // As SetOperators(), of inverses_.
  absl::Status SetInverses(int64_t num_fitted_samples);

  DirectInfluenceOptions options_;
  FittedRegularization regularization_;
  std::vector<std::shared_ptr<const DirectInverse>> inverses_;
};

}  // namespace influence

#endif  // INFLUENCE_INFLUENCE_DIRECT_INFLUENCE_H_
