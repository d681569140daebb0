// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The inverse of A = C + lambda I from k eigenpairs (U, D) of C, in two forms:
//   exact      (U diag(D) U^T + lambda I)^-1
//                = (I - U diag(D / (D + lambda)) U^T) / lambda,
//   projected  U diag(1 / (D + lambda)) U^T, without the D_i of magnitude at
//              most epsilon * P * the largest: the inverse within the span of
//              U, zero outside of it.
#ifndef INFLUENCE_OPERATORS_LOW_RANK_INVERSE_H_
#define INFLUENCE_OPERATORS_LOW_RANK_INVERSE_H_

#include <cstdint>
#include <memory>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "operators/low_rank.h"
#include "operators/operator.h"

namespace influence {

enum class LowRankForm { kExact, kProjected };

// "exact", "projected".
absl::string_view LowRankFormName(LowRankForm form);

// kInvalidArgument listing the names for another one.
absl::StatusOr<LowRankForm> ParseLowRankForm(absl::string_view name);

struct LowRankInverseOptions {
  double regularization = 0;  // lambda: finite, >= 0; > 0 for kExact.
  LowRankForm form = LowRankForm::kExact;

  // How exact the D are, relative to the largest: the rounding unit of the
  // dtype that C's products were computed in. The epsilon of the dropped D_i
  // and, with lambda = 0, of the D_i + lambda that are too small; with lambda >
  // 0 the rounding unit of float64 takes its place there.
  double relative_accuracy = 2.220446049250313e-16;
};

// Scores. With q and n the gradients of M queries and of samples, U^T q and U^T
// n come from factors (2 k P operations a sample), and the exact form adds the
// Gram matrix q . n from factors. Neither side is then written out. Where fewer
// queries than that make the written-out transformed queries cheaper (about
// M < 2 k, or gradients with many positions), those are contracted with n
// instead.
//
// Accuracy. Where D_i >> lambda the exact form takes the part of q along U away
// from q: with a fraction f of |q| |n| outside of U's span, a float32
// difference of the two is wrong by 6e-8 / f. So coefficients, Gram matrix and
// difference are computed in float64 from the float32 factors, which are exact
// inputs. What remains is the rounding of U and of the gradients themselves:
// 6e-8 / (f sqrt(P)) and less. For the digits and a network of 2,410 parameters
// at rank 100 and lambda = 3e-5 of the largest D, that is 4e-8 of the largest
// score, where a difference in float32 is wrong by 4e-5 and queries projected
// in float32 by 7e-6.
//
// Immutable and thread-safe. Memory: U, in its dtype.
class LowRankInverse : public Operator {
 public:
  // Shares U and D. kInvalidArgument if they fail ValidateLowRank() or an
  // option is not as stated; kInvalidArgument that names the regularization if
  // lambda is 0 with kExact, or if a D_i + lambda (not dropped) is of magnitude
  // at most epsilon * max(the largest D, lambda), which includes a C of zeros.
  static absl::StatusOr<std::shared_ptr<const LowRankInverse>> Create(
      LowRank low_rank, const LowRankInverseOptions& options);

  // The same U and D, shared, with another lambda.
  absl::StatusOr<std::shared_ptr<const LowRankInverse>> WithRegularization(
      double regularization) const;

  int64_t input_size() const override { return rows_.size(1); }

  // U is a view of k contiguous rows.
  const LowRank& low_rank() const { return low_rank_; }
  double regularization() const { return options_.regularization; }
  LowRankForm form() const { return options_.form; }

  // D_i that the projected form leaves out.
  int64_t num_dropped() const { return num_dropped_; }

  // D_i < 0, beyond epsilon * P * the largest.
  int64_t num_negative() const { return num_negative_; }

  std::unique_ptr<const BilinearForm> AsBilinearForm() const override;

 protected:
  // Row k of the result is A^-1 row k, computed in float64. 4 K k P operations;
  // scratch is bounded by a fixed tile.
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override;

 private:
  friend class LowRankForms;

  LowRankInverse(LowRank low_rank, const LowRankInverseOptions& options);

  absl::Status SetWeights();

  LowRank low_rank_;
  at::Tensor rows_;  // U^T, contiguous.
  LowRankInverseOptions options_;

  // A^-1 = identity_ I + U diag(weights_) U^T.
  double identity_ = 0;
  at::Tensor weights_;  // [k], float64; 0 where dropped.
  int64_t num_dropped_ = 0;
  int64_t num_negative_ = 0;
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_LOW_RANK_INVERSE_H_
