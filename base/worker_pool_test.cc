// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/worker_pool.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <numeric>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/full.h"
#include "ATen/ops/mm.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class WorkerPoolTest : public testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(3); }
  void TearDown() override { at::set_num_threads(before_); }

  const int before_ = at::get_num_threads();
};

// Lets threads go once so many have come.
class Meeting {
 public:
  explicit Meeting(int size) : missing_(size) {}

  void Meet() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (--missing_ == 0) all_here_.notify_all();
    all_here_.wait(lock, [this] { return missing_ <= 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable all_here_;
  int missing_;
};

TEST_F(WorkerPoolTest, WorkersRunSideBySideOnOneThreadEach) {
  Meeting meeting(3);
  std::vector<std::thread::id> ids(3);
  std::vector<int> num_threads(3);
  ForEachWorker(3, [&](int worker) {
    meeting.Meet();
    ids[worker] = std::this_thread::get_id();
    num_threads[worker] = at::get_num_threads();
  });
  EXPECT_THAT(std::set<std::thread::id>(ids.begin(), ids.end()), SizeIs(3));
  EXPECT_EQ(ids[0], std::this_thread::get_id());
  EXPECT_THAT(num_threads, Each(1));
  EXPECT_EQ(at::get_num_threads(), 3);
}

TEST_F(WorkerPoolTest, OneAloneHasAllThreads) {
  int num_threads = 0;
  ForEachWorker(1, [&](int) { num_threads = at::get_num_threads(); });
  EXPECT_EQ(num_threads, 3);
}

TEST_F(WorkerPoolTest, KeepsItsThreads) {
  std::mutex mutex;
  std::set<std::thread::id> ids;
  for (int repeat = 0; repeat < 200; ++repeat) {
    Meeting meeting(2);
    ForEachWorker(2, [&](int) {
      meeting.Meet();
      const std::lock_guard<std::mutex> lock(mutex);
      ids.insert(std::this_thread::get_id());
    });
  }
  EXPECT_THAT(ids, SizeIs(2));
}

TEST_F(WorkerPoolTest, AWorkerStartsNoOthers) {
  std::vector<std::set<std::thread::id>> ids(2);
  std::vector<int> counts(2);
  ForEachWorker(2, [&](int worker) {
    EXPECT_EQ(WorkersFor(100), 1);
    ForEachWorker(4, [&](int) {
      ids[worker].insert(std::this_thread::get_id());
      ++counts[worker];
    });
  });
  EXPECT_THAT(ids, Each(SizeIs(1)));
  EXPECT_THAT(counts, Each(4));
}

TEST_F(WorkerPoolTest, NorDoesARegionOfOpenMp) {
  std::atomic<int> counted = 0;
  at::parallel_for(0, 2, /*grain_size=*/1, [&](int64_t begin, int64_t end) {
    if (!at::in_parallel_region()) {  // Compiled without OpenMP.
      counted += static_cast<int>(4 * (end - begin));
      return;
    }
    for (int64_t i = begin; i < end; ++i) {
      EXPECT_EQ(WorkersFor(100), 1);
      const std::thread::id here = std::this_thread::get_id();
      ForEachWorker(4, [&](int) {
        EXPECT_EQ(std::this_thread::get_id(), here);
        EXPECT_EQ(at::get_num_threads(), 1);
        ++counted;
      });
    }
  });
  EXPECT_EQ(counted, 8);
}

TEST_F(WorkerPoolTest, AsManyWorkersAsThereIsWork) {
  EXPECT_EQ(WorkersFor(0), 1);
  EXPECT_EQ(WorkersFor(2), 2);
  EXPECT_EQ(WorkersFor(100), 3);
  EXPECT_EQ(WorkersFor(100, kMinWorkerProducts / 2), 1);
  EXPECT_EQ(WorkersFor(100, 2 * kMinWorkerProducts), 2);
  EXPECT_EQ(WorkersFor(1, 100 * kMinWorkerProducts), 1);
}

TEST_F(WorkerPoolTest, PartsCoverTheWhole) {
  for (const int64_t size : {0, 1, 7, 100}) {
    std::vector<int> seen(size);
    ForEachPart(3, size, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) ++seen[i];
    });
    EXPECT_EQ(seen, std::vector<int>(size, 1));
  }
}

TEST_F(WorkerPoolTest, TheFirstErrorIsReportedOnceAllAreOver) {
  std::atomic<int> num_over = 0;
  EXPECT_THAT(
      RunWorkers(3,
                 [&](int worker) -> absl::Status {
                   ++num_over;
                   if (worker == 0) return absl::OkStatus();
                   return absl::DataLossError(absl::StrCat("worker ", worker));
                 }),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("worker 1")));
  EXPECT_EQ(num_over, 3);
  EXPECT_THAT(RunWorkers(3, [](int) { return absl::OkStatus(); }), IsOk());
}

TEST_F(WorkerPoolTest, WhatOneThrowsReachesTheCallerOnceAllAreOver) {
  for (const int thrower : {0, 1, 2}) {
    std::atomic<int> num_over = 0;
    EXPECT_THROW(ForEachWorker(3,
                               [&](int worker) {
                                 ++num_over;
                                 if (worker == thrower) {
                                   throw std::runtime_error("lost");
                                 }
                               }),
                 std::runtime_error);
    EXPECT_EQ(num_over, 3);
    EXPECT_EQ(at::get_num_threads(), 3);
  }
  WorkerGroup group;
  ASSERT_THAT(group.Start([] { throw std::runtime_error("lost"); }), IsOk());
  EXPECT_THROW(group.Wait(), std::runtime_error);
  group.Wait();
}

TEST_F(WorkerPoolTest, WorkersHaveTheGradientModeOfTheCaller) {
  for (const bool enabled : {false, true}) {
    const at::AutoGradMode grad_mode(enabled);
    std::vector<int> found(3);
    Meeting meeting(3);
    ForEachWorker(3, [&](int worker) {
      meeting.Meet();
      found[worker] = at::GradMode::is_enabled() ? 1 : 0;
      at::GradMode::set_enabled(!enabled);
      if (worker == 0) at::GradMode::set_enabled(enabled);
    });
    EXPECT_THAT(found, Each(enabled ? 1 : 0));
  }
}

// What a group starts runs even where all others wait for it.
TEST_F(WorkerPoolTest, AGroupHasAsManyThreadsAsItStarts) {
  constexpr int kSize = 9;
  Meeting meeting(kSize + 1);
  WorkerGroup group;
  std::atomic<int> num_over = 0;
  for (int i = 0; i < kSize; ++i) {
    ASSERT_THAT(group.Start([&] {
      meeting.Meet();
      ++num_over;
    }),
                IsOk());
  }
  meeting.Meet();
  group.Wait();
  EXPECT_EQ(num_over, kSize);
}

// The threads of the parent are not in the child. LibTorch does not promise to
// work there: an error is an answer, waiting for ever is none.
TEST_F(WorkerPoolTest, AForkedProcessDoesNotWaitForThreadsOfItsParent) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer refuses threads after fork()";
#endif
  ForEachWorker(3, [](int) {});
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(30);
    std::vector<int> seen(3);
    try {
      ForEachWorker(3, [&](int worker) { ++seen[worker]; });
    } catch (const std::exception&) {
      _exit(0);
    }
    _exit(seen == std::vector<int>{1, 1, 1} ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

// Operators of LibTorch in many threads of several callers.
TEST_F(WorkerPoolTest, SeveralThreadsMayUseItAtOnce) {
  std::vector<double> sums(4);
  std::vector<std::thread> callers;
  for (double& sum : sums) {
    callers.emplace_back([&sum] {
      for (int repeat = 0; repeat < 20; ++repeat) {
        std::vector<double> parts(3);
        ForEachWorker(3, [&](int worker) {
          const at::Tensor x = at::full({8, 8}, worker + 1, at::kDouble);
          parts[worker] = at::mm(x, x)[0][0].item<double>();
        });
        sum = std::accumulate(parts.begin(), parts.end(), 0.0);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_THAT(sums, Each(8.0 * (1 + 4 + 9)));
}

}  // namespace
}  // namespace influence
