// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Threads of this library's own, in which LibTorch's operators may run:
//
//   INFLUENCE_RETURN_IF_ERROR(
//       RunWorkers(WorkersFor(num_tasks), [&](int worker) -> absl::Status {
//         ...
//       }));
//
// They stand in for at::parallel_for(), whose body must not call an operator:
// kernels of LibTorch's libraries count on as many threads as they ask for,
// which they do not get in a region of OpenMP, and wait for the others for
// ever. Each worker has LibTorch on one thread. Threads are kept for the next
// work, and sleep until then: handing work to one and waiting for it takes
// about 10 microseconds.
#ifndef INFLUENCE_BASE_WORKER_POOL_H_
#define INFLUENCE_BASE_WORKER_POOL_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace influence {

// Work in threads of the pool, each with LibTorch on one thread and with the
// gradient mode of the thread that starts it. For work whose parts wait for
// each other: whatever is started runs, however many run already. To be used by
// one thread.
class WorkerGroup {
 public:
  WorkerGroup();
  // Waits, and drops what was thrown.
  ~WorkerGroup();
  WorkerGroup(const WorkerGroup&) = delete;
  WorkerGroup& operator=(const WorkerGroup&) = delete;

  // kResourceExhausted, and nothing is started, if the process may not have one
  // more thread.
  absl::Status Start(std::function<void()> work);

  // Waits for all that was started; throws the first of what that threw.
  void Wait();

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

// While an object of this class lives, the calling thread is a worker: LibTorch
// is on one thread, and the functions below start no others.
class WorkerScope {
 public:
  WorkerScope();
  ~WorkerScope();
  WorkerScope(const WorkerScope&) = delete;
  WorkerScope& operator=(const WorkerScope&) = delete;

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

// Multiply-adds that a worker must have for its wake-up to be worthwhile: some
// ten times as long.
inline constexpr int64_t kMinWorkerProducts = int64_t{1} << 20;

// How many workers to share so many tasks, which are so many multiply-adds
// together: LibTorch's threads at most, and one in a worker. At least one.
int WorkersFor(int64_t num_tasks);
int WorkersFor(int64_t num_tasks, int64_t num_products);

// Calls work(0), ..., work(num_workers - 1) side by side, the first in the
// calling thread, and throws the first of what they throw once all are over.
// One alone is called as it is, with all of LibTorch's threads. In a worker, in
// a region of OpenMP, and where there are no more threads to be had, one after
// the other: they must not wait for each other.
void ForEachWorker(int num_workers, absl::FunctionRef<void(int worker)> work);

// The same for work that may fail: the first error, by worker.
absl::Status RunWorkers(int num_workers,
                        absl::FunctionRef<absl::Status(int worker)> work);

// Calls work(begin, end) for as many parts of [0, size), equal but for one, as
// there are workers.
void ForEachPart(int num_workers, int64_t size,
                 absl::FunctionRef<void(int64_t begin, int64_t end)> work);

}  // namespace influence

#endif  // INFLUENCE_BASE_WORKER_POOL_H_
