// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Influence with the inverse curvature replaced by the identity: the dot
// product of gradients, grad q(z_i)^T grad l(z_j).
#ifndef INFLUENCE_INFLUENCE_IDENTITY_INFLUENCE_H_
#define INFLUENCE_INFLUENCE_IDENTITY_INFLUENCE_H_

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "base/progress.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "influence/composable_influence.h"
#include "influence/fitted_state.h"
#include "influence/regularization.h"
#include "operators/operator.h"

namespace influence {

// Fitted from the start: Fit() only records the number of samples. Scores in
// mode kUp are Gram matrices from factors, in memory that does not grow with
// P * N. Thread-safe.
class IdentityInfluence : public ComposableInfluence {
 public:
  // kInvalidArgument if `provider` is null.
  static absl::StatusOr<std::unique_ptr<IdentityInfluence>> Create(
      std::shared_ptr<const GradientProvider> provider, ParameterBlocks blocks,
      std::optional<PerSampleFunction> query_function = std::nullopt);

  // From ExportState(). kInvalidArgument if the state is of another method or
  // does not fit the model.
  static absl::StatusOr<std::unique_ptr<IdentityInfluence>> Restore(
      std::shared_ptr<const GradientProvider> provider,
      const FittedState& state,
      std::optional<PerSampleFunction> query_function = std::nullopt);

  bool is_thread_safe() const override { return true; }

  std::vector<BlockReport> report() const override;

  // kInvalidArgument: there is nothing to regularize.
  absl::StatusOr<std::unique_ptr<ComposableInfluence>> WithRegularization(
      const Regularization& regularization) const override;

 protected:
  absl::StatusOr<std::vector<std::shared_ptr<const Operator>>> FitOperators(
      std::shared_ptr<const BatchSequence> data,
      ProgressReporter* progress) override;
  absl::StatusOr<FittedState> DoExportState() const override;

 private:
  using ComposableInfluence::ComposableInfluence;
};

}  // namespace influence

#endif  // INFLUENCE_INFLUENCE_IDENTITY_INFLUENCE_H_
