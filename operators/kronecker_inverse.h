// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The inverse of A = C + lambda I for the Kronecker-factored curvature C of one
// block of parameters, KFAC or EKFAC (kronecker_curvature.h). For each factor
// pair, with V [O, I] the pair's part of a right-hand side,
//
//   A^-1 V = U_G [ (U_G^T V U_A) / (Lambda + lambda) ] U_A^T
//
// (George et al. 2018, equation 7, with damping; eigenvectors [O, Q], [I, R]
// have the eigenvalue 0 beside them, kronecker_pair_inverse.h), for a parameter
// with diagonal
// d: v / (d + lambda), and 0 for a dropped one.
//
// Its bilinear form works on factors. Where samples have one position, a
// gradient is an outer product in eigen-coordinates too, so that scores need
// neither the queries' nor the training samples' gradients written out: 2 P
// operations for a pair of samples, all in large matrix products.
//
// `score_tolerance` t > 0 makes these scores cheaper: where Lambda / (Lambda +
// lambda) <= t, the inverse is taken as 1 / lambda, which needs no contraction
// (eigenvalue_staircase.h). The operator B of these scores then satisfies
//
//   0 <= B - A^-1 <= t B   (as symmetric matrices),
//
// so |S_t[i, j] - S[i, j]| <= t sqrt(B(i, i) B(j, j)), where B(i, i) is the
// score of sample i with itself. Scores of layers with positions, Apply(), and
// with it influence factors and the mode `perturbation`, are exact.
#ifndef INFLUENCE_OPERATORS_KRONECKER_INVERSE_H_
#define INFLUENCE_OPERATORS_KRONECKER_INVERSE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gradients/factored_gradients.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "operators/bilinear_form.h"
#include "operators/kronecker_curvature.h"
#include "operators/kronecker_pair_inverse.h"
#include "operators/operator.h"

namespace influence {

struct KroneckerInverseOptions {
  double regularization = 0;  // lambda: finite, >= 0.

  double score_tolerance = 0;  // t, as above, in [0, 1).

  // With lambda = 0 an eigenvalue of a pair (or of the diagonals) of at most
  // relative_accuracy times its largest counts as zero.
  double relative_accuracy = 2.220446049250313e-16;
};

// Works in the dtype of its operands; eigenvectors of the model's dtype are
// converted once. Immutable and thread-safe. Memory: beside the shared
// curvature, O Q + I R + 2 Q R scalars of the model's dtype for each pair.
class KroneckerInverse : public Operator {
 public:
  // The block's part of `curvature` (not null), whose parameters are those of
  // `model`. kInvalidArgument if an option is out of range; if the curvature
  // does not cover each scalar of the block exactly once, or shapes disagree,
  // naming the parameter; and, naming the regularization, if A is singular.
  static absl::StatusOr<std::shared_ptr<const KroneckerInverse>> Create(
      std::shared_ptr<const KroneckerCurvature> curvature, const Model& model,
      const ParameterBlock& block, const KroneckerInverseOptions& options);

  // The same with other options.
  absl::StatusOr<std::shared_ptr<const KroneckerInverse>> WithOptions(
      const KroneckerInverseOptions& options) const;

  int64_t input_size() const override { return size_; }

  std::unique_ptr<const BilinearForm> AsBilinearForm() const override;

  const KroneckerInverseOptions& options() const { return options_; }

  // Scalars of the block in factor pairs, with a diagonal, and dropped; their
  // sum is input_size().
  int64_t num_factored() const { return num_factored_; }
  int64_t num_diagonal() const { return num_diagonal_; }
  int64_t num_dropped() const { return num_dropped_; }

  // Of num_factored(), the share that scores contract where samples have one
  // position: 1 without a split. Eigenvalues that vanish beside lambda in the
  // model's dtype are split off at any t.
  double contracted_share() const;

 protected:
  // 4 K O I (O + I) operations for a pair, in tiles of bounded size.
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override;

 private:
  class Form;
  class Prepared;

  struct Pair {
    KroneckerPairInverse inverse;
    int64_t weight;         // Position in the block.
    int64_t bias;           // Position in the block, -1 without.
    int64_t weight_offset;  // In the weight, in scalars.
    int64_t bias_offset;
  };
  struct Diagonal {
    int64_t parameter;    // Position in the block.
    at::Tensor diagonal;  // float64 [size]
  };

  KroneckerInverse() = default;

  absl::Status Build(const KroneckerInverseOptions& options);

  // Where the parameters at `positions` of the block begin in the flat vector
  // of these parameters; -1 for the others. One entry a parameter of the block.
  std::vector<int64_t> OffsetsOf(const std::vector<int64_t>& positions) const;

  // The pair's place in such a vector.
  static PairOffsets OffsetsOf(const Pair& pair,
                               const std::vector<int64_t>& offsets);

  // The inverse's action on the rows of `in` [K, *] whose parameters lie at
  // `offsets`, over `out`, which may be `in`. `split`, a flag a pair: with the
  // eigenvalues of kSplit; none where empty.
  void Transform(const at::Tensor& in, const std::vector<int64_t>& offsets,
                 const std::vector<bool>& split, const at::Tensor& out) const;

  std::shared_ptr<const KroneckerCurvature> curvature_;
  std::vector<std::string> names_;     // Of the block's parameters.
  std::vector<int64_t> indices_;       // The same, into Model::parameters().
  std::vector<int64_t> sizes_;         // The same, in scalars.
  at::ScalarType dtype_ = at::kFloat;  // The model's.
  KroneckerInverseOptions options_;

  int64_t size_ = 0;
  int64_t num_factored_ = 0;
  int64_t num_diagonal_ = 0;
  int64_t num_dropped_ = 0;
  std::vector<Pair> pairs_;
  std::vector<Diagonal> diagonals_;
  std::vector<int64_t> dropped_;  // Positions in the block.
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_KRONECKER_INVERSE_H_
