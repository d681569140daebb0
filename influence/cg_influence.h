// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Influence functions by conjugate gradients: the fit keeps the data, and
// A = C + lambda I of each block is solved for the gradients of the queries
// when they come.
#ifndef INFLUENCE_INFLUENCE_CG_INFLUENCE_H_
#define INFLUENCE_INFLUENCE_CG_INFLUENCE_H_

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
#include "influence/curvature_products.h"
#include "influence/fitted_state.h"
#include "influence/regularization.h"
#include "operators/curvature.h"
#include "operators/low_rank.h"
#include "operators/operator.h"
#include "operators/rank_average.h"

namespace influence {

enum class CgPreconditioner {
  kNone,
  kJacobi,    // JacobiPreconditioner
  kNystroem,  // NystroemPreconditioner
};

// "none", "jacobi", "nystroem".
absl::string_view CgPreconditionerName(CgPreconditioner preconditioner);

// kInvalidArgument listing the names for another one.
absl::StatusOr<CgPreconditioner> ParseCgPreconditioner(absl::string_view name);

struct CgInfluenceOptions {
  Curvature curvature = Curvature::kGeneralizedGaussNewton;
  Regularization regularization;  // Auto.

  // Differentiated on the query side; the provider's loss where not given.
  std::optional<PerSampleFunction> query_function;

  // As in ConjugateGradientOptions.
  double relative_tolerance = 1e-5;
  int64_t max_iterations = 1000;
  bool block = true;

  CgPreconditioner preconditioner = CgPreconditioner::kNone;

  // Of kNystroem: the rank of each block's sketch, 1 to the number of
  // parameters; a smaller block's is its size, and the report says so. As in
  // NystroemOptions. C must be positive semidefinite.
  int64_t rank = 20;
  uint64_t seed = 0;

  // How C is multiplied with. Where it is formed it is taken as one matrix of
  // P_b products against min(max_iterations, 32) products a query, and solves
  // run in float64.
  CurvatureProductsOptions products;

  // Of the processes that fit and solve together, with each its part of the
  // data; null for a process alone. See solves_together().
  std::shared_ptr<Communicator> communicator = nullptr;
};

// Thread-safe after Fit(), unless it solves_together(): with ranks, where a
// block is not formed. Solves report how they ended by query
// (PreparedQueries::solve_reports(), InfluenceFactorsWithReports()). Memory
// after the fit: 8 P_b^2 bytes of a block whose curvature is formed; for the
// others together, half a gigabyte of what KeptCurvatureOperator keeps, or the
// data.
class CgInfluence : public ComposableInfluence {
 public:
  // Iterations that a query usually takes at most, for what is worth forming.
  static constexpr int64_t kUsualIterations = 32;

  // kInvalidArgument if `provider` is null, an option is out of range or the
  // regularization does not fit the blocks.
  static absl::StatusOr<std::unique_ptr<CgInfluence>> Create(
      std::shared_ptr<const GradientProvider> provider, ParameterBlocks blocks,
      const CgInfluenceOptions& options = {});

  // From ExportState(). `data` is the training data of the fit, and may be null
  // if every block's curvature was formed. kInvalidArgument if the state is of
  // another method or does not fit the model, or the data is missing or has
  // another number of samples. `communicator`: as of the options.
  static absl::StatusOr<std::unique_ptr<CgInfluence>> Restore(
      std::shared_ptr<const GradientProvider> provider,
      const FittedState& state,
      const std::shared_ptr<const BatchSequence>& data = nullptr,
      std::optional<PerSampleFunction> query_function = std::nullopt,
      std::shared_ptr<Communicator> communicator = nullptr);

  bool is_thread_safe() const override { return !solves_together(); }

  bool solves_together() const override;

  std::vector<BlockReport> report() const override;

  const CgInfluenceOptions& options() const { return options_; }

  // Whether the curvature of each block was formed; empty before Fit().
  std::vector<bool> formed() const;

  // Shares all that the fit found. Auto() is kFailedPrecondition unless the fit
  // was made with it.
  absl::StatusOr<std::unique_ptr<ComposableInfluence>> WithRegularization(
      const Regularization& regularization) const override;

 protected:
  // Reads the data once for each of: a regularization of Auto(), the forming of
  // curvatures, a preconditioner (kNystroem, for kHessian: 31 times, unless
  // formed). kInvalidArgument, naming the block, if C is found to be indefinite
  // with kNystroem.
  absl::StatusOr<std::vector<std::shared_ptr<const Operator>>> FitOperators(
      std::shared_ptr<const BatchSequence> data,
      ProgressReporter* progress) override;

  // Arrays "<block>/curvature" [P_b, P_b] where it was formed and
  // "<block>/diagonal" [P_b] with kJacobi, float64; with kNystroem, of rank k,
  // "<block>/eigenvectors" [k, P_b] and "<block>/eigenvalues" float64 [k].
  absl::StatusOr<FittedState> DoExportState() const override;

 private:
  // What does not depend on the regularization.
  struct Block {
    at::Tensor curvature;                         // Undefined unless formed.
    std::shared_ptr<const RankAverage> products;  // Unless formed.
    at::Tensor diagonal;                          // With kJacobi.
    std::optional<LowRank> sketch;                // With kNystroem.
  };

  CgInfluence(std::shared_ptr<const GradientProvider> provider,
              ParameterBlocks blocks, CgInfluenceOptions options);
  CgInfluence(const CgInfluence&) = default;

  // Products with C for the blocks where it is not formed.
  absl::Status SetProducts(const std::shared_ptr<const BatchSequence>& data,
                           std::vector<Block>& fitted) const;

  // C + lambda I.
  static absl::StatusOr<std::shared_ptr<const Operator>> CurvatureOperator(
      const Block& block, double regularization);

  // Of iterates.
  at::ScalarType Dtype(const Block& block) const;

  // What kJacobi and kNystroem precondition with.
  absl::Status SetPreconditioners(
      const std::shared_ptr<const BatchSequence>& data,
      ProgressReporter* progress, std::vector<Block>& fitted) const;

  // A conjugate gradient operator for each block.
  absl::StatusOr<std::vector<std::shared_ptr<const Operator>>> MakeOperators(
      const std::vector<Block>& fitted,
      const std::vector<double>& regularization) const;

  CgInfluenceOptions options_;
  std::vector<Block> fitted_;
  FittedRegularization regularization_;
};

}  // namespace influence

#endif  // INFLUENCE_INFLUENCE_CG_INFLUENCE_H_
