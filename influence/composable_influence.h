// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// An influence function model made of an operator per block of parameters. A
// concrete method says how a fit makes the operators; everything else is here.
#ifndef INFLUENCE_INFLUENCE_COMPOSABLE_INFLUENCE_H_
#define INFLUENCE_INFLUENCE_COMPOSABLE_INFLUENCE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/progress.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gradients/tensor_map.h"
#include "influence/block_mapper.h"
#include "influence/fitted_state.h"
#include "influence/influence_function_model.h"
#include "influence/influence_mode.h"
#include "influence/prepared_queries.h"
#include "influence/regularization.h"
#include "operators/fit_checkpoint.h"
#include "operators/operator.h"

namespace influence {

// What a fit found in one block.
struct BlockReport {
  std::string block;
  int64_t size;  // P_b

  // lambda as used; nothing if the method has none.
  std::optional<double> regularization;

  // Of A = C + lambda I; set, and negative, if A was found to be indefinite.
  // Scores are exact all the same, but the loss is not at a minimum.
  std::optional<double> smallest_eigenvalue;

  // What a user should know beside that, a line each: "rank: found 100 above
  // the block's size 10; used 10".
  std::vector<std::string> remarks = {};
};

// Scores and factors are sums over the blocks, respectively the blocks' parts
// side by side; by block they come as a map in the blocks' order.
class ComposableInfluence : public InfluenceFunctionModel {
 public:
  int64_t num_parameters() const override { return blocks_.size(); }
  bool is_fitted() const override { return mapper_.has_value(); }

  const ParameterBlocks& blocks() const { return blocks_; }
  const GradientProvider& provider() const { return *provider_; }

  // The function differentiated on the query side.
  const PerSampleFunction& query_function() const {
    return query_provider_->function();
  }

  int64_t num_fitted_samples() const override { return num_fitted_samples_; }

  // One entry per block, in order; empty before Fit().
  virtual std::vector<BlockReport> report() const = 0;

  // The action of A^-1 on each block, in order; empty before Fit(). They may be
  // kept longer than the model.
  std::vector<std::shared_ptr<const Operator>> operators() const;

  // The eigenvalues of C that the fit has found, an entry per block: float64
  // [k], falling. P_b of them, or fewer with a low-rank method; parameters that
  // are left out have none. kUnimplemented if the method finds none;
  // kFailedPrecondition before Fit().
  virtual absl::StatusOr<std::vector<at::Tensor>> CurvatureEigenvalues() const;

  // Where Fit() keeps its finished passes from here on, and looks for them:
  // kronecker and direct methods, whose passes are long; others have one short
  // pass and begin anew. Borrowed; null for nowhere. The checkpoint must be of
  // the same model, data and options.
  void set_fit_checkpoint(FitCheckpoint* checkpoint) {
    fit_checkpoint_ = checkpoint;
  }

  // The fit, to be stored; each concrete method has a Restore() that makes an
  // equal model of it. kFailedPrecondition before Fit(); kUnimplemented if the
  // method does not offer it.
  absl::StatusOr<FittedState> ExportState() const;

  // S[j, j], the influence of each sample on itself, [N]; costs a column of
  // Influences() a sample at most. `reports`, unless null, becomes how the
  // samples were solved for, as PreparedQueries::solve_reports().
  absl::StatusOr<at::Tensor> SelfInfluences(
      const Batch& batch,
      std::vector<BlockSolveReports>* reports = nullptr) const;

  // As InfluenceFactors(), Influences() and InfluencesFromFactors(), an entry
  // per block.
  absl::StatusOr<TensorMap> InfluenceFactorsByBlock(const Batch& test) const;

  // InfluenceFactorsByBlock(). `reports` (not null) becomes how each query was
  // solved for in each block whose operator iterates.
  absl::StatusOr<TensorMap> InfluenceFactorsWithReports(
      const Batch& test, std::vector<BlockSolveReports>* reports) const;

  absl::StatusOr<TensorMap> InfluencesByBlock(
      const Batch& test, const std::optional<Batch>& train = std::nullopt,
      InfluenceMode mode = InfluenceMode::kUp, int64_t input = 0) const;
  absl::StatusOr<TensorMap> InfluencesFromFactorsByBlock(
      const at::Tensor& factors, const Batch& train,
      InfluenceMode mode = InfluenceMode::kUp, int64_t input = 0) const;
  absl::StatusOr<TensorMap> InfluencesFromFactorsByBlock(
      const TensorMap& factors, const Batch& train,
      InfluenceMode mode = InfluenceMode::kUp, int64_t input = 0) const;

  // InfluencesFromFactors() and its sibling by block with kUp, from the
  // training samples' gradients in place of the samples: see
  // PreparedQueries::InfluencesFromGradients().
  absl::StatusOr<at::Tensor> InfluencesFromFactorsAndGradients(
      const at::Tensor& factors, const FactoredGradients& train) const;
  absl::StatusOr<TensorMap> InfluencesFromFactorsAndGradientsByBlock(
      const at::Tensor& factors, const FactoredGradients& train) const;

  // A model fitted to the same data with another regularization; what does not
  // depend on it is shared, not computed again. kFailedPrecondition before
  // Fit(); kInvalidArgument on a bad value, or if the method has none.
  virtual absl::StatusOr<std::unique_ptr<ComposableInfluence>>
  WithRegularization(const Regularization& regularization) const = 0;

 protected:
  // `provider` (not null) gives the model and the training loss, `blocks` is a
  // partition of that model's parameters. Without a query function the loss is
  // differentiated on the query side too.
  ComposableInfluence(std::shared_ptr<const GradientProvider> provider,
                      ParameterBlocks blocks,
                      std::optional<PerSampleFunction> query_function);
  ComposableInfluence(const ComposableInfluence&) = default;

  // The operator of each block, in the order of blocks().
  virtual absl::StatusOr<std::vector<std::shared_ptr<const Operator>>>
  FitOperators(std::shared_ptr<const BatchSequence> data,
               ProgressReporter* progress) = 0;

  // Method, options, regularization and arrays of ExportState(); the rest is
  // filled in. Here: kUnimplemented.
  virtual absl::StatusOr<FittedState> DoExportState() const;

  absl::Status DoFit(std::shared_ptr<const BatchSequence> data,
                     ProgressReporter* progress) override;

  // Makes the model a fitted one.
  absl::Status SetOperators(
      std::vector<std::shared_ptr<const Operator>> operators,
      int64_t num_fitted_samples);

  absl::StatusOr<at::Tensor> DoInfluenceFactors(
      const Batch& test) const override;
  absl::StatusOr<at::Tensor> DoInfluences(const Batch& test,
                                          const std::optional<Batch>& train,
                                          InfluenceMode mode,
                                          int64_t input) const override;
  absl::StatusOr<std::unique_ptr<const PreparedQueries>> DoPrepareQueries(
      const Batch& test) const override;
  absl::StatusOr<at::Tensor> DoInfluencesFromFactors(
      const at::Tensor& factors, const Batch& train, InfluenceMode mode,
      int64_t input) const override;

  const std::shared_ptr<const GradientProvider>& shared_provider() const {
    return provider_;
  }

  FitCheckpoint* fit_checkpoint() const { return fit_checkpoint_; }

 private:
  std::shared_ptr<const GradientProvider> provider_;
  std::shared_ptr<const GradientProvider> query_provider_;
  ParameterBlocks blocks_;
  std::optional<BlockMapper> mapper_;
  int64_t num_fitted_samples_ = 0;
  FitCheckpoint* fit_checkpoint_ = nullptr;  // Borrowed, may be null.
};

}  // namespace influence

#endif  // INFLUENCE_INFLUENCE_COMPOSABLE_INFLUENCE_H_
