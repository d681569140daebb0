// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Operators that are means over samples which the ranks of a job share out:
//   A v = sum_r n_r A_r v / sum_r n_r,
// with n_r the samples of rank r and A_r the mean over them. One rank, the
// first, runs a method that asks for products, such as conjugate gradients; the
// others compute their parts of them until it is done:
//
//   INFLUENCE_ASSIGN_OR_RETURN(
//       const auto average,
//       RankAverage::Create(communicator, size, {{of_my_samples, n}}));
//   INFLUENCE_RETURN_IF_ERROR(average->Lead([&]() -> absl::Status {
//     INFLUENCE_ASSIGN_OR_RETURN(pairs, ArnoldiEigenpairs(*average->op(0)));
//     return absl::OkStatus();
//   }));                              // `pairs` is there on the first rank.
//
// So no rank but the first decides anything, and ranks on processors that round
// differently cannot part company.
#ifndef INFLUENCE_OPERATORS_RANK_AVERAGE_H_
#define INFLUENCE_OPERATORS_RANK_AVERAGE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "operators/operator.h"
#include "operators/solve_report.h"

namespace influence {

// Every rank has one of these. Create() and Lead() are collective. What `work`
// fails with, all ranks return; a rank that fails in its part of a product must
// end the others (Communicator::Abort()), as everywhere. Not thread-safe.
class RankAverage {
 public:
  // A_r, and n_r; null where that is 0.
  struct Part {
    std::shared_ptr<const Operator> op;
    int64_t num_samples = 0;
  };

  // `size`: that of the operators; `parts`: of this rank, as many on all.
  // communicator: of more than one rank; null for a process alone.
  // kInvalidArgument if a part does not fit, or no rank has samples of it.
  static absl::StatusOr<std::shared_ptr<const RankAverage>> Create(
      std::shared_ptr<Communicator> communicator, int64_t size,
      std::vector<Part> parts);

  // There is more than one rank.
  bool is_shared() const { return communicator_ != nullptr; }

  // The average of part number `index`. Where it is shared its products exist
  // on the first rank within Lead() alone (kFailedPrecondition else), in the
  // dtype of their operands; sums over the ranks are in float64. A product
  // sends 8 bytes an entry to and from every other rank.
  std::shared_ptr<const Operator> op(size_t index) const {
    return operators_[index];
  }

  // Calls `work` on the first rank and returns what it returns, on all of them.
  // On the others computes what it asks for.
  absl::Status Lead(absl::FunctionRef<absl::Status()> work) const;

  // The same for work that makes tensors, which all ranks then have.
  using Tensors = std::vector<at::Tensor>;
  absl::StatusOr<Tensors> LeadTensors(
      absl::FunctionRef<absl::StatusOr<Tensors>()> work) const;

  // An operator that is applied by all ranks together, with operands of the
  // same shape, of which that of the first rank counts: what `op`, which takes
  // products with op(), makes of it there, on all of them; reports on the first
  // only. `op` itself where nothing is shared. Keeps this average.
  static std::shared_ptr<const Operator> Led(
      std::shared_ptr<const RankAverage> average,
      std::shared_ptr<const Operator> op);

 private:
  class Average;
  class LedOperator;

  RankAverage(std::shared_ptr<Communicator> communicator, int64_t size,
              std::vector<Part> parts)
      : communicator_(std::move(communicator)),
        size_(size),
        parts_(std::move(parts)) {}

  // On every rank: this rank's part and the sum.
  absl::StatusOr<at::Tensor> Product(size_t index,
                                     const at::Tensor& matrix) const;

  // On the first rank: has the others join in Product().
  absl::StatusOr<at::Tensor> LeadProduct(size_t index,
                                         const at::Tensor& matrix) const;

  // On the others: joins in products until there are no more.
  absl::Status Serve() const;

  std::shared_ptr<Communicator> communicator_;  // Null for a process alone.
  int64_t size_;
  std::vector<Part> parts_;
  std::vector<int64_t> num_samples_;  // Of all ranks, by part.
  std::vector<std::shared_ptr<const Operator>> operators_;
  mutable bool is_leading_ = false;
  mutable bool has_failed_ =
      false;  // In a product: nobody waits for this rank.
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_RANK_AVERAGE_H_
