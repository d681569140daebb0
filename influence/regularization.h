// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The regularization lambda that is added to the curvature as lambda * I: one
// value for all blocks, a value per block, or one found from the gradients.
#ifndef INFLUENCE_INFLUENCE_REGULARIZATION_H_
#define INFLUENCE_INFLUENCE_REGULARIZATION_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/communicator.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "gradients/parameter_blocks.h"

namespace influence {

// Immutable.
class Regularization {
 public:
  using BlockValue = std::pair<std::string, double>;

  Regularization() = default;  // Auto().

  // AutoRegularization() of the training data, a value per block.
  static Regularization Auto() { return Regularization(); }

  // kInvalidArgument unless `value` is finite and >= 0.
  static absl::StatusOr<Regularization> Constant(double value);

  // A value for every block, by name. kInvalidArgument, naming the block, if a
  // value is negative or not finite or a name occurs twice.
  static absl::StatusOr<Regularization> ByBlock(std::vector<BlockValue> values);

  // "auto", "1e-3" or "name=value,...". kInvalidArgument for another text.
  static absl::StatusOr<Regularization> Parse(absl::string_view text);

  bool is_auto() const { return values_.empty(); }

  // The values of `blocks`, in their order. kInvalidArgument naming a block
  // without a value or a value without a block. Not for is_auto().
  absl::StatusOr<std::vector<double>> Resolve(
      const ParameterBlocks& blocks) const;

  // As Parse() reads it.
  std::string ToString() const;

 private:
  bool by_block_ = false;
  std::vector<BlockValue> values_;  // One, unnamed, unless by_block_.
};

// 0.1 * mean_n |g_n,block|^2 / P_block for each block, over the samples of
// `data` with their own labels: a tenth of the mean diagonal entry of the
// Gauss-Newton matrix. One gradient pass; `provider` gives model and loss, its
// selection does not matter. kInvalidArgument, naming the block and asking for
// a value, where it is 0. With a communicator the ranks share the batches out:
// collective, the same result on all.
absl::StatusOr<std::vector<double>> AutoRegularization(
    const GradientProvider& provider, const ParameterBlocks& blocks,
    const BatchSequence& data, Communicator* communicator = nullptr);

// The same from mean_n |g_n,block|^2, a value per block, where the fit has it.
absl::StatusOr<std::vector<double>> AutoRegularizationFromMeanSquaredNorms(
    const ParameterBlocks& blocks,
    const std::vector<double>& mean_squared_norms);

// The same from the Gauss-Newton matrix of each block, [P_b, P_b], whose trace
// is mean_n |g_n|^2: no gradient pass.
absl::StatusOr<std::vector<double>> AutoRegularizationFromGaussNewton(
    const ParameterBlocks& blocks, const std::vector<at::Tensor>& matrices);

// lambda of each block, in the blocks' order, as a fit has found it.
struct FittedRegularization {
  std::vector<double> values;       // As used.
  std::vector<double> auto_values;  // Those of auto; empty if not asked for.
};

// Values that were given, resolved; or those of `find_auto`, which is called
// for auto only (AutoRegularization() or one of its siblings).
absl::StatusOr<FittedRegularization> FitRegularization(
    const Regularization& regularization, const ParameterBlocks& blocks,
    absl::FunctionRef<absl::StatusOr<std::vector<double>>()> find_auto);

// lambda of each block for a model that was fitted with `fitted`, without its
// data: values that were given, resolved, or fitted.auto_values.
// kFailedPrecondition if auto is asked for and the fit has not looked for it.
absl::StatusOr<FittedRegularization> RefitRegularization(
    const Regularization& regularization, const ParameterBlocks& blocks,
    const FittedRegularization& fitted);

}  // namespace influence

#endif  // INFLUENCE_INFLUENCE_REGULARIZATION_H_
