// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The regularization lambda that is added to the curvature as lambda * I: one
// value for all blocks, a value per block, or one found from the gradients.
#ifndef INFLUENCE_INFLUENCE_REGULARIZATION_H_
#define INFLUENCE_INFLUENCE_REGULARIZATION_H_

#include <cstddef>
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
// selection does not matter. With a communicator the ranks share the batches
// out: collective, the same result on all.
//
// 0 for a block without information: one whose gradients are all zero (a head
// that the loss does not reach, LoRA's A while B is zero, dead units), or zero
// up to rounding. The latter are those whose root mean square is at most four
// rounding units of the model's dtype times that of the block with the largest:
// what a sum leaves of terms that cancel (a bias before a softmax or a
// normalization). A lambda in proportion to them would blow the noise up to the
// size of an influence. See FitRegularization().
absl::StatusOr<std::vector<double>> AutoRegularization(
    const GradientProvider& provider, const ParameterBlocks& blocks,
    const BatchSequence& data, Communicator* communicator = nullptr);

// The same from mean_n |g_n,block|^2, a value per block, where the fit has it.
// relative_accuracy: RoundingUnit() of the dtype that the gradients were found
// in.
absl::StatusOr<std::vector<double>> AutoRegularizationFromMeanSquaredNorms(
    const ParameterBlocks& blocks,
    const std::vector<double>& mean_squared_norms, double relative_accuracy);

// The same from the Gauss-Newton matrix of each block, [P_b, P_b], whose trace
// is mean_n |g_n|^2: no gradient pass.
absl::StatusOr<std::vector<double>> AutoRegularizationFromGaussNewton(
    const ParameterBlocks& blocks, const std::vector<at::Tensor>& matrices,
    double relative_accuracy);

// lambda of each block, in the blocks' order, as a fit has found it.
struct FittedRegularization {
  std::vector<double> values;  // As used.
  // Those of auto, 0 for a block without information; empty if not asked for.
  std::vector<double> auto_values;
};

// What a user should know of block number `block`: nothing, or that it
// contributes nothing, where auto was looked for and has found that.
std::vector<std::string> RegularizationRemarks(
    const FittedRegularization& fitted, size_t block);

// Values that were given, resolved; or those of `find_auto`, which is called
// for auto only (AutoRegularization() or one of its siblings).
//
// With auto, a block without information takes the lambda that auto would give
// to all parameters as one block. Any positive value does: A^-1 is finite then,
// and a score is a product with a training gradient that is zero (or whose
// square is nothing beside that lambda). So such a block contributes nothing,
// whatever the method, and the others keep theirs.
//
// kInvalidArgument where no block has information: every score would be a zero
// that looks like an answer. With a value that is given, they are zeros.
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
