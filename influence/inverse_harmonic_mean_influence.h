// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Influence with the inverse of A replaced, in each block, by the mean of the
// inverses of its damped rank-one terms: mean_n (g_n g_n^T + lambda I)^-1,
// g_n the gradients of the training samples.
#ifndef INFLUENCE_INFLUENCE_INVERSE_HARMONIC_MEAN_INFLUENCE_H_
#define INFLUENCE_INFLUENCE_INVERSE_HARMONIC_MEAN_INFLUENCE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

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
#include "operators/kept_gradients.h"
#include "operators/operator.h"

namespace influence {

struct InverseHarmonicMeanInfluenceOptions {
  Regularization regularization;  // Auto; values > 0.

  // Differentiated on the query side; the provider's loss where not given.
  std::optional<PerSampleFunction> query_function;

  KeptGradientsOptions gradients;  // Of the training data.

  // Of the processes that keep and meet the gradients together, with each its
  // part of the data; null for a process alone. See solves_together().
  std::shared_ptr<Communicator> communicator = nullptr;
};

// Fit() takes the gradients of the training data as factors (a pass, and one
// more for an automatic regularization) and keeps them where they fit. Scores
// of M queries then take the Gram matrices of operators/
// inverse_harmonic_mean_operator.h, or the transformed queries, 4 N M P
// operations, whichever costs less. Where the factors do not fit the data are
// read again, once a block, for each set of queries. Thread-safe after Fit(),
// unless it solves_together(): with ranks, which transform queries.
class InverseHarmonicMeanInfluence : public ComposableInfluence {
 public:
  // kInvalidArgument if `provider` is null or the regularization does not fit
  // the blocks or is 0.
  static absl::StatusOr<std::unique_ptr<InverseHarmonicMeanInfluence>> Create(
      std::shared_ptr<const GradientProvider> provider, ParameterBlocks blocks,
      const InverseHarmonicMeanInfluenceOptions& options = {});

  // From ExportState() and the data of the fit, whose gradients are taken
  // again. kInvalidArgument if the state is of another method or does not fit
  // the model, or the data have another number of samples. `communicator`: as
  // of the options.
  static absl::StatusOr<std::unique_ptr<InverseHarmonicMeanInfluence>> Restore(
      std::shared_ptr<const GradientProvider> provider,
      const FittedState& state, std::shared_ptr<const BatchSequence> data,
      std::optional<PerSampleFunction> query_function = std::nullopt,
      std::shared_ptr<Communicator> communicator = nullptr);

  bool is_thread_safe() const override { return !solves_together(); }

  bool solves_together() const override;

  std::vector<BlockReport> report() const override;

  // Shares the gradients. Auto() is kFailedPrecondition unless the fit was made
  // with it.
  absl::StatusOr<std::unique_ptr<ComposableInfluence>> WithRegularization(
      const Regularization& regularization) const override;

 protected:
  absl::StatusOr<std::vector<std::shared_ptr<const Operator>>> FitOperators(
      std::shared_ptr<const BatchSequence> data,
      ProgressReporter* progress) override;

  // No arrays: the data are the state.
  absl::StatusOr<FittedState> DoExportState() const override;

 private:
  InverseHarmonicMeanInfluence(std::shared_ptr<const GradientProvider> provider,
                               ParameterBlocks blocks,
                               InverseHarmonicMeanInfluenceOptions options);
  InverseHarmonicMeanInfluence(const InverseHarmonicMeanInfluence&) = default;

  // The gradients of this rank's samples; null where it has none.
  absl::StatusOr<std::shared_ptr<const KeptGradients>> KeepGradients(
      std::shared_ptr<const BatchSequence> data,
      ProgressReporter* progress) const;

  // An operator for each block.
  absl::StatusOr<std::vector<std::shared_ptr<const Operator>>> MakeOperators(
      const std::shared_ptr<const KeptGradients>& gradients,
      const std::vector<double>& regularization) const;

  InverseHarmonicMeanInfluenceOptions options_;
  FittedRegularization regularization_;
  std::shared_ptr<const KeptGradients> gradients_;
};

}  // namespace influence

#endif  // INFLUENCE_INFLUENCE_INVERSE_HARMONIC_MEAN_INFLUENCE_H_
