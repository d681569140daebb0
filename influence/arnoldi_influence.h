// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Influence from the eigenpairs of largest magnitude of the curvature, of the
// Hessian unless another is asked for, found by a Krylov method
// (operators/arnoldi.h).
#ifndef INFLUENCE_INFLUENCE_ARNOLDI_INFLUENCE_H_
#define INFLUENCE_INFLUENCE_ARNOLDI_INFLUENCE_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gradients/gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "influence/fitted_state.h"
#include "influence/low_rank_influence.h"
#include "operators/low_rank.h"
#include "operators/operator.h"

namespace influence {

// Fit() takes 2 k + 1 products with the curvature, one after the other, where
// the spectrum falls off quickly, and about k more for each restart where it
// does not; each is a pass over the data, or over graphs that are kept
// (operators/kept_curvature_operator.h). Blocks of at most 4 k + 2 parameters
// are formed as dense matrices instead, in one pass over the data for all of
// them, and decomposed by LAPACK, in 9 P_b^3 operations. To miss the tolerance
// is reported, not an error, unless no eigenpair has converged
// (kFailedPrecondition).
class ArnoldiInfluence : public LowRankInfluence {
 public:
  // kInvalidArgument, naming the option, if `provider` is null, the rank is not
  // 1 to the number of parameters, the regularization does not fit the blocks,
  // or it is 0 with the exact form.
  static absl::StatusOr<std::unique_ptr<ArnoldiInfluence>> Create(
      std::shared_ptr<const GradientProvider> provider, ParameterBlocks blocks,
      const LowRankInfluenceOptions& options = {});

  // From ExportState(). kInvalidArgument if the state is of another method or
  // does not fit the model.
  static absl::StatusOr<std::unique_ptr<ArnoldiInfluence>> Restore(
      std::shared_ptr<const GradientProvider> provider,
      const FittedState& state,
      std::optional<PerSampleFunction> query_function = std::nullopt);

 protected:
  absl::string_view method() const override;
  std::unique_ptr<LowRankInfluence> Clone() const override;
  bool PrefersDense(int64_t rank, int64_t size) const override;
  absl::StatusOr<LowRank> DensePairs(const at::Tensor& c,
                                     int64_t rank) const override;
  absl::StatusOr<LowRank> OperatorPairs(const Operator& c,
                                        int64_t rank) const override;

 private:
  using LowRankInfluence::LowRankInfluence;
};

}  // namespace influence

#endif  // INFLUENCE_INFLUENCE_ARNOLDI_INFLUENCE_H_
