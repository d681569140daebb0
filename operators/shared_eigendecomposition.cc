// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/shared_eigendecomposition.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/linalg_eigh.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/available_processors.h"
#include "base/communicator.h"
#include "base/num_threads_scope.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "base/worker_pool.h"

namespace influence {
namespace {

// What a matrix costs, in whatever unit.
double CostOf(const SymmetricMatrix& matrix) {
  return std::pow(static_cast<double>(matrix.values.size(0)), 3);
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

Eigendecomposition Decompose(const SymmetricMatrix& matrix) {
  const auto [eigenvalues, eigenvectors] = at::linalg_eigh(matrix.values);
  return {eigenvalues.flip({0}), eigenvectors.flip({1}).contiguous()};
}

// Decomposes those of `share`, the costliest first, in LibTorch's threads.
void DecomposeShare(const std::vector<SymmetricMatrix>& matrices,
                    const std::vector<double>& costs,
                    const std::vector<size_t>& share, ProgressStage& stage,
                    std::vector<Eigendecomposition>& results) {
  const int num_threads = at::get_num_threads();
  double rest = SumOf(costs, share);
  size_t next = 0;
  for (; next < share.size(); ++next) {
    const size_t i = share[next];
    if (num_threads > 1 && num_threads * costs[i] <= kLossOfThreads * rest) {
      break;
    }
    results[i] = Decompose(matrices[i]);
    rest -= costs[i];
    stage.Advance();
  }
  const std::vector<size_t> small(share.begin() + static_cast<int64_t>(next),
                                  share.end());
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

absl::StatusOr<std::vector<Eigendecomposition>> EigendecomposeTogether(
    const std::vector<SymmetricMatrix>& matrices, Communicator& communicator,
    ProgressReporter* progress) {
  std::vector<double> costs;
  costs.reserve(matrices.size());
  int64_t most_rows = 0;
  for (const SymmetricMatrix& matrix : matrices) {
    INFLUENCE_RETURN_IF_ERROR(ValidateFinite(matrix.name, matrix.values));
    costs.push_back(CostOf(matrix));
    most_rows = std::max(most_rows, matrix.values.size(0));
  }
  const std::vector<std::vector<size_t>> shares =
      ShareOut(costs, CostliestFirst(costs), communicator.size());
  const std::vector<size_t>& share = shares[communicator.rank()];
  return CatchTorch("eigendecomposition",
                    [&]() -> absl::StatusOr<std::vector<Eigendecomposition>> {
                      const at::NoGradGuard no_grad;
                      std::vector<Eigendecomposition> results(matrices.size());
                      {
                        ProgressStage stage(progress, "eigenvectors",
                                            static_cast<int64_t>(share.size()),
                                            "matrices");
                        const NumThreadsScope threads(
                            most_rows < kMinRowsForOtherCores
                                ? at::get_num_threads()
                                : ThreadsFor(shares, costs, communicator));
                        DecomposeShare(matrices, costs, share, stage, results);
                      }
                      if (communicator.size() == 1) return results;
                      // Unlike a broadcast this waits without keeping a core
                      // busy.
                      INFLUENCE_RETURN_IF_ERROR(communicator.Barrier());
                      for (int rank = 0; rank < communicator.size(); ++rank) {
                        for (const size_t i : shares[rank]) {
                          Eigendecomposition& result = results[i];
                          if (rank != communicator.rank()) {
                            const int64_t n = matrices[i].values.size(0);
                            result = {at::empty({n}, at::kDouble),
                                      at::empty({n, n}, at::kDouble)};
                          }
                          INFLUENCE_RETURN_IF_ERROR(
                              communicator.Broadcast(result.eigenvalues, rank));
                          INFLUENCE_RETURN_IF_ERROR(communicator.Broadcast(
                              result.eigenvectors, rank));
                        }
                      }
                      return results;
                    });
}

}  // namespace influence
