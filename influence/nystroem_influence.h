// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Influence from a randomised sketch of a positive semidefinite curvature, of
// the generalised Gauss-Newton matrix unless another is asked for
// (operators/nystroem.h).
#ifndef INFLUENCE_INFLUENCE_NYSTROEM_INFLUENCE_H_
#define INFLUENCE_INFLUENCE_NYSTROEM_INFLUENCE_H_

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

// Fit() takes k products with the curvature together, in one pass over the data
// a block; with the Hessian, 30 more that look for negative curvature. A block
// of at most k parameters is formed as a dense matrix and decomposed.
// kInvalidArgument, naming the second order, if a curvature was found to be
// indefinite.
class NystroemInfluence : public LowRankInfluence {
 public:
  // kInvalidArgument, naming the option, if `provider` is null, the rank is not
  // 1 to the number of parameters, the regularization does not fit the blocks,
  // or it is 0 with the exact form.
  static absl::StatusOr<std::unique_ptr<NystroemInfluence>> Create(
      std::shared_ptr<const GradientProvider> provider, ParameterBlocks blocks,
      const LowRankInfluenceOptions& options = {});

  // From ExportState(). kInvalidArgument if the state is of another method or
  // does not fit the model.
  static absl::StatusOr<std::unique_ptr<NystroemInfluence>> Restore(
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

#endif  // INFLUENCE_INFLUENCE_NYSTROEM_INFLUENCE_H_
