// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/shared_eigendecomposition.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/linalg_eigh.h"
#include "ATen/ops/linalg_qr.h"
#include "ATen/ops/tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/available_processors.h"
#include "base/communicator.h"
#include "base/num_threads_scope.h"
#include "base/progress.h"
#include "base/rounding_unit.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "base/worker_pool.h"

namespace influence {
namespace {

// Operations from which a matrix has a stage of progress of its own: seconds.
constexpr double kLongCost = 2e11;

// Eigenvalues of a product of rows below so many units of rounding of the
// largest are errors of rounding.
constexpr double kNoiseUnits = 16;

const at::Tensor& EntriesOf(const SymmetricMatrix& matrix) {
  return matrix.rows.defined() ? matrix.rows : matrix.values;
}

double CostOf(const SymmetricMatrix& matrix) {
  const at::Tensor& entries = EntriesOf(matrix);
  return EigendecompositionCost(
      entries.dim() == 3 ? entries.size(0) : 1, entries.size(-1),
      matrix.rows.defined() ? matrix.rows.size(1) : 0);
}

// Rows of what LAPACK decomposes.
int64_t RowsOf(const SymmetricMatrix& matrix) {
  return EntriesOf(matrix).size(-2);
}

// Below so many rows all cores together are hardly faster than one.
constexpr int64_t kMinRowsForOtherCores = 512;

// All threads together lose so much at one matrix that it had better be done by
// one of them as long as the others have nearly as much to do.
constexpr double kLossOfThreads = 1.3;

// The indices of `costs`, the costliest first.
std::vector<size_t> CostliestFirst(const std::vector<double>& costs) {
  std::vector<size_t> order(costs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return costs[a] > costs[b]; });
  return order;
}

// Indices into `costs` by worker: each of `order` goes to the worker that has
// least to do so far.
std::vector<std::vector<size_t>> ShareOut(const std::vector<double>& costs,
                                          const std::vector<size_t>& order,
                                          int num_workers) {
  std::vector<std::vector<size_t>> shares(num_workers);
  std::vector<double> loads(num_workers, 0.0);
  for (const size_t i : order) {
    const auto least = std::min_element(loads.begin(), loads.end());
    *least += costs[i];
    shares[least - loads.begin()].push_back(i);
  }
  return shares;
}

double SumOf(const std::vector<double>& costs,
             const std::vector<size_t>& indices) {
  double sum = 0;
  for (const size_t i : indices) sum += costs[i];
  return sum;
}

// LibTorch's threads for this rank's share: of those that the ranks of the
// machine have together as many as the share is a part of theirs.
int ThreadsFor(const std::vector<std::vector<size_t>>& shares,
               const std::vector<double>& costs,
               const Communicator& communicator) {
  const int own = at::get_num_threads();
  const std::vector<int> neighbours = communicator.RanksOnMachine();
  double sum = 0;
  for (const int rank : neighbours) sum += SumOf(costs, shares[rank]);
  if (sum == 0) return own;
  const double part = SumOf(costs, shares[communicator.rank()]) / sum;
  const int most = own * static_cast<int>(neighbours.size());
  const auto fair = static_cast<int>(std::lround(part * most));
  return std::max(own, std::min(fair, AvailableProcessors()));
}

// X^T = Q R, in one thread: a fraction of a second.
std::tuple<at::Tensor, at::Tensor> BasisOf(const at::Tensor& rows) {
  const NumThreadsScope one_thread(1);
  return at::linalg_qr(rows.to(at::kDouble).transpose(-2, -1));
}

Eigendecomposition DecomposeRows(const at::Tensor& rows, double scale) {
  const auto [basis, factor] = BasisOf(rows);
  const auto [ascending, rotation] =
      at::linalg_eigh(factor.matmul(factor.transpose(-2, -1)));
  const at::Tensor eigenvalues = ascending.flip({-1});
  const at::Tensor least =
      eigenvalues.narrow(-1, 0, 1).mul(kNoiseUnits * RoundingUnit(at::kDouble));
  const auto rank = std::max<int64_t>(
      1, eigenvalues.gt(least).sum({-1}).max().item<int64_t>());
  return {eigenvalues.narrow(-1, 0, rank).mul(scale),
          basis.matmul(rotation.flip({-1}).narrow(-1, 0, rank)).contiguous()};
}

// Lets go of `matrix`.
Eigendecomposition Decompose(SymmetricMatrix& matrix) {
  if (matrix.rows.defined()) {
    Eigendecomposition result = DecomposeRows(matrix.rows, matrix.scale);
    matrix.rows = at::Tensor();
    return result;
  }
  const auto [eigenvalues, eigenvectors] = at::linalg_eigh(matrix.values);
  matrix.values = at::Tensor();
  return {eigenvalues.flip({-1}), eigenvectors.flip({-1}).contiguous()};
}

// Decomposes those of `share`, the costliest first, in LibTorch's threads.
void DecomposeShare(std::vector<SymmetricMatrix>& matrices,
                    const std::vector<double>& costs,
                    const std::vector<size_t>& share,
                    ProgressReporter* progress,
                    std::vector<Eigendecomposition>& results) {
  const int num_threads = at::get_num_threads();
  // One by one, and what is left for the threads to share. Rows take a fraction
  // of a second: they go one by one, which needs the workspace of one.
  std::vector<size_t> alone, small;
  std::vector<size_t> squares;
  for (const size_t i : share) {
    (matrices[i].rows.defined() ? alone : squares).push_back(i);
  }
  double rest = SumOf(costs, squares);
  for (const size_t i : squares) {
    if (small.empty() && TakesAllThreads(costs[i], rest, num_threads)) {
      alone.push_back(i);
      rest -= costs[i];
    } else {
      small.push_back(i);
    }
  }
  std::vector<size_t> quick;
  for (const size_t i : alone) {
    if (costs[i] < kLongCost) {
      quick.push_back(i);
      continue;
    }
    ProgressStage stage(progress,
                        absl::StrCat("eigenvectors (", matrices[i].name, ", ",
                                     RowsOf(matrices[i]), " rows)"),
                        /*total=*/1, "matrices");
    results[i] = Decompose(matrices[i]);
    stage.Advance();
  }
  ProgressStage stage(progress, "eigenvectors",
                      static_cast<int64_t>(quick.size() + small.size()),
                      "matrices");
  for (const size_t i : quick) {
    results[i] = Decompose(matrices[i]);
    stage.Advance();
  }
  const int num_workers = WorkersFor(static_cast<int64_t>(small.size()));
  const std::vector<std::vector<size_t>> by_worker =
      ShareOut(costs, small, num_workers);
  ForEachWorker(num_workers, [&](int worker) {
    for (const size_t i : by_worker[worker]) {
      results[i] = Decompose(matrices[i]);
    }
  });
  stage.Advance(static_cast<int64_t>(small.size()));
}

}  // namespace

bool TakesAllThreads(double cost, double rest, int num_threads) {
  return num_threads == 1 || num_threads * cost > kLossOfThreads * rest;
}

double EigendecompositionCost(int64_t groups, int64_t n, int64_t m) {
  const auto h = static_cast<double>(groups);
  const auto width = static_cast<double>(n);
  const auto rows = static_cast<double>(m);
  return m == 0 ? h * 9 * width * width * width
                : h * (6 * width + 9 * rows) * rows * rows;
}

absl::StatusOr<std::vector<Eigendecomposition>> EigendecomposeTogether(
    std::vector<SymmetricMatrix> matrices, Communicator& communicator,
    ProgressReporter* progress) {
  std::vector<double> costs;
  costs.reserve(matrices.size());
  int64_t most_rows = 0;
  // The result's shape but for its rank r, which rows leave open.
  std::vector<std::vector<int64_t>> shapes;
  for (const SymmetricMatrix& matrix : matrices) {
    INFLUENCE_RETURN_IF_ERROR(ValidateFinite(matrix.name, EntriesOf(matrix)));
    costs.push_back(CostOf(matrix));
    most_rows = std::max(most_rows, RowsOf(matrix));
    std::vector<int64_t> shape = EntriesOf(matrix).sizes().vec();
    shape[shape.size() - 2] = shape.back();
    shapes.push_back(std::move(shape));
  }
  const std::vector<std::vector<size_t>> shares =
      ShareOut(costs, CostliestFirst(costs), communicator.size());
  const std::vector<size_t>& share = shares[communicator.rank()];
  return CatchTorch(
      "eigendecomposition",
      [&]() -> absl::StatusOr<std::vector<Eigendecomposition>> {
        const at::NoGradGuard no_grad;
        std::vector<Eigendecomposition> results(matrices.size());
        {
          const NumThreadsScope threads(
              most_rows < kMinRowsForOtherCores
                  ? at::get_num_threads()
                  : ThreadsFor(shares, costs, communicator));
          DecomposeShare(matrices, costs, share, progress, results);
        }
        if (communicator.size() == 1) return results;
        // Unlike a broadcast this waits without keeping a core busy.
        INFLUENCE_RETURN_IF_ERROR(communicator.Barrier());
        for (int rank = 0; rank < communicator.size(); ++rank) {
          for (const size_t i : shares[rank]) {
            Eigendecomposition& result = results[i];
            const bool own = rank == communicator.rank();
            std::vector<int64_t> shape = shapes[i];
            const at::Tensor r = at::tensor(
                {own ? result.eigenvalues.size(-1) : int64_t{0}}, at::kLong);
            INFLUENCE_RETURN_IF_ERROR(communicator.Broadcast(r, rank));
            shape.back() = r.item<int64_t>();
            if (!own) {
              result.eigenvectors = at::empty(shape, at::kDouble);
              shape.erase(shape.end() - 2);
              result.eigenvalues = at::empty(shape, at::kDouble);
            }
            INFLUENCE_RETURN_IF_ERROR(
                communicator.Broadcast(result.eigenvalues, rank));
            INFLUENCE_RETURN_IF_ERROR(
                communicator.Broadcast(result.eigenvectors, rank));
            matrices[i] = SymmetricMatrix();
          }
        }
        return results;
      });
}

}  // namespace influence
