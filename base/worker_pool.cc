// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/worker_pool.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/grad_mode.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "base/num_threads_scope.h"
#include "base/status_macros.h"

namespace influence {
namespace {

thread_local bool is_worker = false;

// What a group waits for; guarded by the pool's mutex.
struct Pending {
  int count = 0;
  std::exception_ptr thrown;  // The first.
  std::condition_variable over;
};

// Threads, and those of them that have nothing to do.
class Pool {
 public:
  Pool() : process_(getpid()) {}

  // Of this process: the threads of a process stay behind when it forks.
  static Pool& Of();

  // As WorkerGroup::Start().
  absl::Status Start(std::function<void()> work, Pending& pending);

  // Waits until nothing is pending.
  void Wait(Pending& pending) {
    std::unique_lock<std::mutex> lock(mutex_);
    pending.over.wait(lock, [&] { return pending.count == 0; });
  }

 private:
  struct Thread {
    std::condition_variable woken;
    std::function<void()> work;
    Pending* pending = nullptr;  // Null: nothing to do.
  };

  void Serve(Thread* self);

  const pid_t process_;
  std::mutex mutex_;
  std::vector<Thread*> idle_;  // The last to have worked is last.
};

// Never destroyed: its threads end with the process.
Pool& Pool::Of() {
  static std::atomic<Pool*> current = new Pool;
  Pool* found = current.load();
  if (found->process_ == getpid()) return *found;
  auto* const fresh = new Pool;
  if (current.compare_exchange_strong(found, fresh)) return *fresh;
  delete fresh;
  return *found;
}

void Pool::Serve(Thread* self) {
  is_worker = true;
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    self->woken.wait(lock, [self] { return self->pending != nullptr; });
    Pending& pending = *self->pending;
    lock.unlock();
    std::exception_ptr thrown;
    try {
      const NumThreadsScope one_thread(1);
      self->work();
    } catch (...) {
      thrown = std::current_exception();
    }
    self->work = nullptr;  // What it holds ends before the waiting does.
    lock.lock();
    self->pending = nullptr;
    idle_.push_back(self);
    if (thrown != nullptr && pending.thrown == nullptr) {
      pending.thrown = std::move(thrown);
    }
    thrown = nullptr;
    if (--pending.count == 0) pending.over.notify_all();
  }
}

absl::Status Pool::Start(std::function<void()> work, Pending& pending) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (idle_.empty()) {
    auto thread = std::make_unique<Thread>();
    try {
      std::thread([this, self = thread.get()] { Serve(self); }).detach();
    } catch (const std::system_error& error) {
      return absl::ResourceExhaustedError(error.what());
    }
    idle_.push_back(thread.release());
  }
  Thread* const thread = idle_.back();
  idle_.pop_back();
  thread->work = std::move(work);
  thread->pending = &pending;
  ++pending.count;
  thread->woken.notify_one();
  return absl::OkStatus();
}

}  // namespace

struct WorkerGroup::State {
  Pool& pool = Pool::Of();
  Pending pending;
};

WorkerGroup::WorkerGroup() : state_(std::make_unique<State>()) {}

WorkerGroup::~WorkerGroup() { state_->pool.Wait(state_->pending); }

absl::Status WorkerGroup::Start(std::function<void()> work) {
  return state_->pool.Start(
      [work = std::move(work), enabled = at::GradMode::is_enabled()] {
        const at::AutoGradMode grad_mode(enabled);
        work();
      },
      state_->pending);
}

void WorkerGroup::Wait() {
  state_->pool.Wait(state_->pending);
  if (state_->pending.thrown != nullptr) {
    std::rethrow_exception(std::exchange(state_->pending.thrown, nullptr));
  }
}

struct WorkerScope::State {
  const bool before = std::exchange(is_worker, true);
  const NumThreadsScope one_thread{1};
};

WorkerScope::WorkerScope() : state_(std::make_unique<State>()) {}

WorkerScope::~WorkerScope() { is_worker = state_->before; }

int WorkersFor(int64_t num_tasks) {
  if (is_worker || at::in_parallel_region()) return 1;
  return static_cast<int>(
      std::clamp<int64_t>(num_tasks, 1, at::get_num_threads()));
}

int WorkersFor(int64_t num_tasks, int64_t num_products) {
  return WorkersFor(std::min(num_tasks, num_products / kMinWorkerProducts));
}

void ForEachWorker(int num_workers, absl::FunctionRef<void(int)> work) {
  if (num_workers == 1) {
    work(0);
    return;
  }
  std::exception_ptr thrown;
  const auto call = [&](int worker) {
    try {
      work(worker);
    } catch (...) {
      if (thrown == nullptr) thrown = std::current_exception();
    }
  };
  const bool side_by_side = !is_worker && !at::in_parallel_region();
  const WorkerScope scope;
  WorkerGroup others;
  int num_started = 1;
  while (side_by_side && num_started < num_workers &&
         others.Start([&work, worker = num_started] { work(worker); }).ok()) {
    ++num_started;
  }
  call(0);
  for (int worker = num_started; worker < num_workers; ++worker) call(worker);
  try {
    others.Wait();
  } catch (...) {
    if (thrown == nullptr) thrown = std::current_exception();
  }
  if (thrown != nullptr) std::rethrow_exception(thrown);
}

absl::Status RunWorkers(int num_workers,
                        absl::FunctionRef<absl::Status(int)> work) {
  std::vector<absl::Status> statuses(num_workers);
  ForEachWorker(num_workers,
                [&](int worker) { statuses[worker] = work(worker); });
  for (const absl::Status& status : statuses) {
    INFLUENCE_RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

void ForEachPart(int num_workers, int64_t size,
                 absl::FunctionRef<void(int64_t, int64_t)> work) {
  ForEachWorker(num_workers, [&](int worker) {
    work(worker * size / num_workers, (worker + 1) * size / num_workers);
  });
}

}  // namespace influence
