// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Influence functions by LiSSA (lissa.h): A = C + lambda I of each block is
// solved for the gradients of the queries by a recursion over the batches of
// the training data. The one method whose result depends on the batches and on
// a seed.
#ifndef INFLUENCE_INFLUENCE_LISSA_INFLUENCE_H_
#define INFLUENCE_INFLUENCE_LISSA_INFLUENCE_H_

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
#include "influence/curvature_products.h"
#include "influence/fitted_state.h"
#include "influence/regularization.h"
#include "operators/curvature.h"
#include "operators/lissa.h"
#include "operators/operator.h"
#include "operators/rank_average.h"

namespace influence {

struct LissaInfluenceOptions {
  Curvature curvature = Curvature::kGeneralizedGaussNewton;
  Regularization regularization;  // Auto.

  // Differentiated on the query side; the provider's loss where not given.
  std::optional<PerSampleFunction> query_function;

  // As in LissaOptions. A scale holds for every block; where not given, each
  // block has its own.
  std::optional<double> scale;
  double dampen = 0;
  int64_t max_iterations = 1000;
  double relative_tolerance = 1e-4;
  uint64_t seed = 0;

  // How the batches' curvatures are multiplied with. Where they are formed they
  // are taken as a matrix a batch, of P_b products each, against
  // min(max_iterations, 200) products a query.
  CurvatureProductsOptions products;

  // Of the processes that fit and solve together, with each its part of every
  // batch; null for a process alone. See solves_together().
  std::shared_ptr<Communicator> communicator = nullptr;
};

// Thread-safe after Fit(), unless it solves_together(): with ranks, where a
// block is not formed. Solves report how they ended by query, with remarks
// where a scale was doubled (PreparedQueries::solve_reports(),
// InfluenceFactorsWithReports()). Memory after the fit: P_b^2 scalars of the
// model's dtype a batch for each block that is formed; for the others together,
// half a gigabyte of what KeptCurvatureOperator keeps, or the data.
class LissaInfluence : public ComposableInfluence {
 public:
  // kInvalidArgument if `provider` is null, an option is out of range or the
  // regularization does not fit the blocks.
  static absl::StatusOr<std::unique_ptr<LissaInfluence>> Create(
      std::shared_ptr<const GradientProvider> provider, ParameterBlocks blocks,
      const LissaInfluenceOptions& options = {});

  // From ExportState(). `data` is the training data of the fit in the same
  // batches, and may be null if every block's curvatures were formed.
  // kInvalidArgument if the state is of another method or does not fit the
  // model, or the data is missing or in other batches. `communicator`: as of
  // the options.
  static absl::StatusOr<std::unique_ptr<LissaInfluence>> Restore(
      std::shared_ptr<const GradientProvider> provider,
      const FittedState& state,
      const std::shared_ptr<const BatchSequence>& data = nullptr,
      std::optional<PerSampleFunction> query_function = std::nullopt,
      std::shared_ptr<Communicator> communicator = nullptr);

  bool is_thread_safe() const override { return !solves_together(); }

  bool solves_together() const override;

  // The remarks state the scale.
  std::vector<BlockReport> report() const override;

  const LissaInfluenceOptions& options() const { return options_; }

  // s of each block; empty before Fit().
  std::vector<double> scales() const;

  // Whether the curvatures of each block were formed; empty before Fit().
  std::vector<bool> formed() const;

  // Shares all that the fit found but the scales, which are estimated again
  // unless one was given. Auto() is kFailedPrecondition unless the fit was made
  // with it.
  absl::StatusOr<std::unique_ptr<ComposableInfluence>> WithRegularization(
      const Regularization& regularization) const override;

 protected:
  // Reads the data once for each of: the batches' sizes, a regularization of
  // Auto(), the forming of curvatures, a block that is not formed. Estimates of
  // a scale take up to 60 products with all the data for each block.
  absl::StatusOr<std::vector<std::shared_ptr<const Operator>>> FitOperators(
      std::shared_ptr<const BatchSequence> data,
      ProgressReporter* progress) override;

  // Arrays "batch_sizes" int64 [T], "scales" float64 [number of blocks], and
  // "<block>/curvatures" [T, P_b, P_b] in the model's dtype where they were
  // formed, for T batches.
  absl::StatusOr<FittedState> DoExportState() const override;

 private:
  LissaInfluence(std::shared_ptr<const GradientProvider> provider,
                 ParameterBlocks blocks, LissaInfluenceOptions options);
  LissaInfluence(const LissaInfluence&) = default;

  // Forms C_t of every batch for the blocks that are true in `which`.
  absl::Status FormCurvatures(const std::shared_ptr<const BatchSequence>& data,
                              const std::vector<bool>& which,
                              ProgressReporter* progress);

  // Products with each C_t for the blocks where they are not formed.
  absl::Status SetProducts(const std::shared_ptr<const BatchSequence>& data);

  // An operator for each block. With `scales`, those; otherwise the option's or
  // estimates.
  absl::StatusOr<std::vector<std::shared_ptr<const Lissa>>> MakeOperators(
      const std::vector<double>& regularization,
      const std::vector<double>& scales = {}) const;

  // inverses_, led where the ranks solve together.
  std::vector<std::shared_ptr<const Operator>> Operators() const;

  // As SetOperators().
  absl::Status SetInverses(std::vector<std::shared_ptr<const Lissa>> inverses,
                           int64_t num_fitted_samples);

  LissaInfluenceOptions options_;
  std::vector<int64_t> batch_sizes_;
  std::vector<at::Tensor> curvatures_;  // [T, P_b, P_b]; undefined if not
                                        // formed.
  // With C_t, by block and, within, by batch; null for a block that is formed.
  std::vector<std::shared_ptr<const RankAverage>> products_;
  std::vector<std::shared_ptr<const Lissa>> inverses_;
  FittedRegularization regularization_;
};

}  // namespace influence

#endif  // INFLUENCE_INFLUENCE_LISSA_INFLUENCE_H_
