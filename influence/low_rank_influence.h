// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Influence with the curvature C of each block replaced by k of its eigenpairs
// (U, D), which a concrete method finds, and A = C + lambda I inverted in one
// of the two forms of operators/low_rank_inverse.h.
#ifndef INFLUENCE_INFLUENCE_LOW_RANK_INFLUENCE_H_
#define INFLUENCE_INFLUENCE_LOW_RANK_INFLUENCE_H_

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
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "influence/composable_influence.h"
#include "influence/fitted_state.h"
#include "influence/regularization.h"
#include "operators/curvature.h"
#include "operators/low_rank.h"
#include "operators/low_rank_inverse.h"
#include "operators/operator.h"

namespace influence {

struct LowRankInfluenceOptions {
  std::optional<Curvature> curvature;  // The method's own where not given.
  Regularization regularization;       // Auto.

  // k: 1 to the number of parameters in all blocks. A smaller block has all its
  // eigenpairs, which is reported.
  int64_t rank = 10;

  // kExact needs a regularization > 0.
  LowRankForm low_rank_inverse = LowRankForm::kExact;

  uint64_t seed = 0;  // Of what the method draws.

  // Differentiated on the query side; the provider's loss where not given.
  std::optional<PerSampleFunction> query_function;

  int num_threads = 0;  // Of Fit(), as in DenseCurvatureOptions.

  // Of the processes that fit together, with each its part of the data; null
  // for a process alone.
  std::shared_ptr<Communicator> communicator = nullptr;
};

// Thread-safe after Fit(). Memory after it: U, k P numbers of the model's
// dtype.
class LowRankInfluence : public ComposableInfluence {
 public:
  bool is_thread_safe() const override { return true; }

  // smallest_eigenvalue is the smallest D + lambda where that is negative.
  // Remarks: a rank that was clamped, eigenpairs that were not found, negative
  // D, and D that the projected form leaves out.
  std::vector<BlockReport> report() const override;

  Curvature curvature() const { return curvature_; }

  // D of each block, float64, by falling magnitude; empty before Fit().
  std::vector<at::Tensor> eigenvalues() const;

  // The same in falling order.
  absl::StatusOr<std::vector<at::Tensor>> CurvatureEigenvalues() const override;

  // U and D of each block; empty before Fit().
  std::vector<LowRank> eigenpairs() const;

  // Shares the eigenpairs and costs next to nothing. Auto() is
  // kFailedPrecondition unless the fit was made with it.
  absl::StatusOr<std::unique_ptr<ComposableInfluence>> WithRegularization(
      const Regularization& regularization) const override;

 protected:
  LowRankInfluence(std::shared_ptr<const GradientProvider> provider,
                   ParameterBlocks blocks, LowRankInfluenceOptions options,
                   Curvature default_curvature);
  LowRankInfluence(const LowRankInfluence&) = default;

  // "arnoldi", as on the command line.
  virtual absl::string_view method() const = 0;

  virtual std::unique_ptr<LowRankInfluence> Clone() const = 0;

  // Whether C of a block of `size` parameters is better formed as a dense
  // matrix; always where the rank is the size.
  virtual bool PrefersDense(int64_t rank, int64_t size) const = 0;

  // At most `rank` eigenpairs, by falling magnitude: of a dense C, float64 [P,
  // P], and of one reached through its products.
  virtual absl::StatusOr<LowRank> DensePairs(const at::Tensor& c,
                                             int64_t rank) const = 0;
  virtual absl::StatusOr<LowRank> OperatorPairs(const Operator& c,
                                                int64_t rank) const = 0;

  absl::StatusOr<std::vector<std::shared_ptr<const Operator>>> FitOperators(
      std::shared_ptr<const BatchSequence> data,
      ProgressReporter* progress) override;

  // Arrays by block: "<block>/eigenvectors", [k, P_b], an eigenvector a row, in
  // the model's dtype, and "<block>/eigenvalues", float64 [k].
  absl::StatusOr<FittedState> DoExportState() const override;

  // What Create() refuses.
  static absl::Status ValidateOptions(const GradientProvider* provider,
                                      const ParameterBlocks& blocks,
                                      const LowRankInfluenceOptions& options);

  // The options in a state of `method`, but for the query function.
  static absl::StatusOr<LowRankInfluenceOptions> OptionsOfState(
      const FittedState& state);

  // Makes a fresh model the one that was exported.
  absl::Status SetState(const FittedState& state);

  const LowRankInfluenceOptions& options() const { return options_; }
  at::ScalarType dtype() const { return provider().model().dtype(); }

 private:
  using Inverses = std::vector<std::shared_ptr<const LowRankInverse>>;

  absl::StatusOr<Inverses> Invert(std::vector<LowRank> pairs,
                                  const std::vector<double>& values) const;

  // As SetOperators(), of inverses_.
  absl::Status SetInverses(int64_t num_fitted_samples);

  LowRankInfluenceOptions options_;
  Curvature curvature_;
  FittedRegularization regularization_;
  Inverses inverses_;
};

}  // namespace influence

#endif  // INFLUENCE_INFLUENCE_LOW_RANK_INFLUENCE_H_
