// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Influence functions with Kronecker-factored curvature, KFAC or EKFAC, layer
// by layer: kronecker_fit.h finds it, kronecker_inverse.h inverts it.
#ifndef INFLUENCE_INFLUENCE_KRONECKER_INFLUENCE_H_
#define INFLUENCE_INFLUENCE_KRONECKER_INFLUENCE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/communicator.h"
#include "base/progress.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "influence/composable_influence.h"
#include "influence/fitted_state.h"
#include "influence/regularization.h"
#include "operators/fisher_gradients.h"
#include "operators/kronecker_curvature.h"
#include "operators/kronecker_fit.h"
#include "operators/kronecker_inverse.h"
#include "operators/operator.h"

namespace influence {

// "kfac", "ekfac".
absl::string_view KroneckerMethodName(KroneckerMethod method);

struct KroneckerInfluenceOptions {
  KroneckerMethod method = KroneckerMethod::kEkfac;
  Fisher fisher = Fisher::kEmpirical;
  UncoveredPolicy uncovered = UncoveredPolicy::kDiagonal;
  int64_t max_factor_size = 0;    // As of KroneckerFitOptions.
  uint64_t seed = 0;              // Of the sampled Fisher.
  Regularization regularization;  // Auto.

  // t of KroneckerInverseOptions: in [0, 1); 0 is exact.
  double score_tolerance = 0;

  // Differentiated on the query side; the provider's loss where not given.
  std::optional<PerSampleFunction> query_function;

  // As of KroneckerFitOptions.
  int64_t kept_factor_bytes = int64_t{256} << 20;
  int64_t worker_bytes = int64_t{1} << 30;

  // The processes that Fit() together, as of KroneckerFitOptions.
  std::shared_ptr<Communicator> communicator = nullptr;
};

// Blocks are the model's layers (BlockStructure::kLayer). Thread-safe after
// Fit(). Memory after it: the curvature, 8 (O Q + I R + Q R) bytes a factor
// pair (kronecker_curvature.h; without covariances), and its converted copy,
// about half of that in float32.
class KroneckerInfluence : public ComposableInfluence {
 public:
  // kInvalidArgument if `provider` is null, an option is out of range or the
  // regularization does not fit the layers.
  static absl::StatusOr<std::unique_ptr<KroneckerInfluence>> Create(
      std::shared_ptr<const GradientProvider> provider,
      const KroneckerInfluenceOptions& options = {});

  // From ExportState(), either method. kInvalidArgument if the state is of
  // another method or does not fit the model.
  static absl::StatusOr<std::unique_ptr<KroneckerInfluence>> Restore(
      std::shared_ptr<const GradientProvider> provider,
      const FittedState& state,
      std::optional<PerSampleFunction> query_function = std::nullopt);

  bool is_thread_safe() const override { return true; }

  KroneckerMethod method() const { return options_.method; }
  double score_tolerance() const { return options_.score_tolerance; }

  // Remarks: parameters with a diagonal only or left out, and the share of a
  // layer that scores contract.
  std::vector<BlockReport> report() const override;

  // Eigenvectors and eigenvalues, no covariances; null before Fit().
  const KroneckerCurvature* curvature() const { return curvature_.get(); }

  // The inverse of each block, in the blocks' order; empty before Fit().
  const std::vector<std::shared_ptr<const KroneckerInverse>>& inverses() const {
    return inverses_;
  }

  // The share of all parameters in factor pairs, in [0, 1]; 0 before Fit().
  double covered_share() const;

  // Lambda of all factor pairs and the diagonals.
  absl::StatusOr<std::vector<at::Tensor>> CurvatureEigenvalues() const override;

  // Shares the fit. Auto() is kFailedPrecondition unless the fit was made with
  // it.
  absl::StatusOr<std::unique_ptr<ComposableInfluence>> WithRegularization(
      const Regularization& regularization) const override;

  // The same with another t. Shares the fit.
  absl::StatusOr<std::unique_ptr<KroneckerInfluence>> WithScoreTolerance(
      double score_tolerance) const;

 protected:
  // Costs of FitKronecker(). kInvalidArgument, naming block and regularization,
  // if a curvature is singular.
  absl::StatusOr<std::vector<std::shared_ptr<const Operator>>> FitOperators(
      std::shared_ptr<const BatchSequence> data,
      ProgressReporter* progress) override;

  // For each layer "<layer>/input_eigenvectors", "/gradient_eigenvectors",
  // "/input_eigenvalues", "/gradient_eigenvalues" and "/eigenvalues", float64,
  // as in KroneckerFactors, with a dimension [H] in front where the layer has
  // several groups; "/layout", int64: weight, its offset, whether it is
  // input-major, bias or -1, its offset, where parameters are counted in the
  // blocks' order and offsets are those of the first group. For each diagonal
  // "<parameter>/diagonal".
  absl::StatusOr<FittedState> DoExportState() const override;

 private:
  KroneckerInfluence(std::shared_ptr<const GradientProvider> provider,
                     ParameterBlocks blocks, KroneckerInfluenceOptions options);
  KroneckerInfluence(const KroneckerInfluence&) = default;

  // The inverses of `curvature` with `regularization` by block.
  absl::StatusOr<std::vector<std::shared_ptr<const KroneckerInverse>>> Invert(
      const std::shared_ptr<const KroneckerCurvature>& curvature,
      const std::vector<double>& regularization) const;

  // A fitted copy with other options of the inverses.
  absl::StatusOr<std::unique_ptr<KroneckerInfluence>> WithOptions(
      const KroneckerInfluenceOptions& options,
      FittedRegularization regularization) const;

  // As SetOperators(), of inverses_.
  absl::Status SetInverses(int64_t num_fitted_samples);

  KroneckerInfluenceOptions options_;
  FittedRegularization regularization_;
  std::shared_ptr<const KroneckerCurvature> curvature_;
  std::vector<std::shared_ptr<const KroneckerInverse>> inverses_;
};

}  // namespace influence

#endif  // INFLUENCE_INFLUENCE_KRONECKER_INFLUENCE_H_
