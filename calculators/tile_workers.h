// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Computes the tiles of an array with several threads: workers take tiles from
// a schedule (tile_schedule.h), compute them, and hand them on to the calling
// thread, which delivers them in the order of the tiles.
//
//   rows x columns of tiles; what the tiles of a row share (the factors of a
//   batch of queries) is computed once a row, by one worker.
//
// Each worker runs LibTorch on one thread, so that from the same state a tile
// has the same bits whatever the number of workers. Memory does not grow with
// the number of tiles: workers run ahead of the delivery by a fixed window, and
// of rows there are as many open at once as MaxOpenRows() says.
#ifndef INFLUENCE_CALCULATORS_TILE_WORKERS_H_
#define INFLUENCE_CALCULATORS_TILE_WORKERS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/progress.h"
#include "calculators/tile_schedule.h"

namespace influence {

// Tells a computation to stop. Thread-safe.
class CancellationToken {
 public:
  void Cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> cancelled_ = false;
};

struct WorkerOptions {
  // >= 0; 0: DefaultNumWorkers().
  int num_workers = 0;

  // How many tiles may be computed, or be under way, that are not delivered
  // yet; >= 0. 0: twice num_workers. Not for a sink that takes any order.
  int64_t window = 0;

  // Asked before each tile; may be null. Tiles under way are finished and
  // delivered, then the computation ends with kCancelled.
  std::shared_ptr<const CancellationToken> cancellation = nullptr;
};

// kInvalidArgument, naming the field and its value, unless they are as above.
absl::Status ValidateWorkerOptions(const WorkerOptions& options);

// The number of processors that the process may use, at least 1, see
// base/available_processors.h.
int DefaultNumWorkers();

// The most rows that are open at once, one being computed ahead: the number of
// rows that num_workers consecutive tiles can lie in. A schedule that leaves
// out tiles may have num_workers of them open.
int64_t MaxOpenRows(int num_workers, int64_t columns);

// What is to be computed. Functions may throw what LibTorch throws.
struct TileWork {
  // Hands a finished tile on; holds the tile.
  using DeliverFunction = std::function<absl::Status()>;

  // Computes the tile of an open row in column `column`.
  using ComputeFunction =
      std::function<absl::StatusOr<DeliverFunction>(int64_t column)>;

  int64_t rows = 0;
  int64_t columns = 0;

  // False if the tile is there already: it is neither computed nor delivered,
  // and a row of which none is wanted is not opened. Called by any thread, one
  // at a time. Empty means that all are wanted.
  std::function<bool(int64_t row, int64_t column)> wants;

  // Opens a row. Called by workers, for several rows at a time; so is what it
  // returns, for several columns at a time. That is destroyed after the last
  // tile of the row.
  std::function<absl::StatusOr<ComputeFunction>(int64_t row)> open_row;

  // Asked in the calling thread, at first and after each delivery there; once
  // it says true, workers deliver their tiles themselves, at once, in any
  // order, several at a time. Empty means never.
  std::function<bool()> takes_any_order;
};

// Computes and delivers the tiles that `schedule` has for this process and that
// are wanted; advances `stage` (may be null) in the calling thread by each tile
// that is delivered or was not wanted, or that others have taken, where the
// schedule TellsProgressOfAll(). Returns when all workers have ended.
//
// An error stops everything: tiles before it, in the order of the schedule, are
// still finished, those after it are not begun. So the error that is returned
// is the first one in that order, the one that a single worker would meet;
// nothing is delivered in order beyond it. kCancelled if `options.cancellation`
// came before the last tile was begun; kInvalidArgument on bad options.
//
// While it runs, attention takes the mathematical kernel in the whole process
// (gradients/differentiable_attention.h): which kernel a worker meets must not
// depend on what the others are doing. The process's number of LibTorch threads
// for threads to come is 1 meanwhile, and put back at the end.
absl::Status RunTileWorkers(const TileWork& work, TileSchedule& schedule,
                            const WorkerOptions& options, ProgressStage* stage);

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_TILE_WORKERS_H_
