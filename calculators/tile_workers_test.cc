// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/tile_workers.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/progress.h"
#include "calculators/tile_schedule.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Le;

using ComputeFunction = TileWork::ComputeFunction;
using DeliverFunction = TileWork::DeliverFunction;

constexpr int64_t kRows = 4;
constexpr int64_t kColumns = 5;
constexpr int64_t kTiles = kRows * kColumns;

// Runs its tiles and keeps book.
class Book {
 public:
  TileWork Work() {
    TileWork work;
    work.rows = kRows;
    work.columns = kColumns;
    work.wants = [this](int64_t row, int64_t column) {
      return !unwanted_.contains(row * kColumns + column);
    };
    work.open_row = [this](int64_t row) { return OpenRow(row); };
    work.takes_any_order = [this] { return any_order_; };
    return work;
  }

  absl::Status Run(const WorkerOptions& options,
                   ProgressStage* stage = nullptr) {
    CounterTileSchedule schedule(kTiles);
    return RunTileWorkers(Work(), schedule, options, stage);
  }

  absl::StatusOr<ComputeFunction> OpenRow(int64_t row) {
    const auto open = std::make_shared<const Open>(this, row);
    if (row == failing_row_) return absl::DataLossError("row");
    return
        [this, row, open](int64_t column) -> absl::StatusOr<DeliverFunction> {
          const int64_t tile = row * kColumns + column;
          num_threads_ = std::max<int>(num_threads_, at::get_num_threads());
          const auto alive = std::make_shared<const Alive>(this);
          // Some tiles take longer than others.
          std::this_thread::sleep_for(
              std::chrono::microseconds((tile * 7919) % 13 * 100));
          if (tile == slow_tile_) {
            while (!slow_may_end_) std::this_thread::yield();
          }
          if (failing_.contains(tile)) {
            slow_may_end_ = true;
            return absl::DataLossError(absl::StrCat("tile ", tile));
          }
          if (tile == throwing_) throw std::runtime_error("thrown");
          return [this, tile, alive]() -> absl::Status {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (tile == refused_) return absl::OutOfRangeError("refused");
            delivered_.push_back(tile);
            delivering_threads_.insert(std::this_thread::get_id());
            return absl::OkStatus();
          };
        };
  }

  // Counts itself while it lives.
  struct Counted {
    std::atomic<int> now = 0;
    std::atomic<int> most = 0;
    void Add() {
      const int count = ++now;
      int before = most;
      while (before < count && !most.compare_exchange_weak(before, count)) {
      }
    }
  };
  struct Alive {
    explicit Alive(Book* owner) : book(owner) { book->tiles_.Add(); }
    ~Alive() { --book->tiles_.now; }
    Book* book;
  };
  struct Open {
    Open(Book* owner, int64_t row) : book(owner) {
      book->rows_.Add();
      const std::lock_guard<std::mutex> lock(book->mutex_);
      book->opened_.push_back(row);
    }
    ~Open() { --book->rows_.now; }
    Book* book;
  };

  std::set<int64_t> unwanted_;
  std::set<int64_t> failing_;
  int64_t failing_row_ = -1;
  int64_t throwing_ = -1;
  int64_t refused_ = -1;
  int64_t slow_tile_ = -1;  // Ends after another has failed.
  std::atomic<bool> slow_may_end_ = false;
  bool any_order_ = false;

  std::mutex mutex_;
  std::vector<int64_t> opened_;
  std::vector<int64_t> delivered_;
  std::set<std::thread::id> delivering_threads_;
  std::atomic<int> num_threads_ = 0;
  Counted tiles_;
  Counted rows_;
};

std::vector<int64_t> Count(int64_t end) {
  std::vector<int64_t> all;
  for (int64_t i = 0; i < end; ++i) all.push_back(i);
  return all;
}

TEST(TileWorkersTest, DeliversInOrderInTheCallingThread) {
  for (const int num_workers : {1, 2, 4, 30}) {
    Book book;
    INFLUENCE_ASSERT_OK(book.Run({.num_workers = num_workers}));
    EXPECT_EQ(book.delivered_, Count(kTiles));
    EXPECT_THAT(book.delivering_threads_,
                ElementsAre(std::this_thread::get_id()));
    EXPECT_EQ(book.num_threads_, 1);
    EXPECT_EQ(book.tiles_.now, 0);
    EXPECT_EQ(book.rows_.now, 0);
  }
}

TEST(TileWorkersTest, OpensEachRowOnceAndFewAtATime) {
  for (const int num_workers : {1, 2, 4}) {
    Book book;
    INFLUENCE_ASSERT_OK(book.Run({.num_workers = num_workers}));
    std::sort(book.opened_.begin(), book.opened_.end());
    EXPECT_EQ(book.opened_, Count(kRows));
    EXPECT_LE(book.rows_.most, MaxOpenRows(num_workers, kColumns));
  }
}

TEST(TileWorkersTest, KnowsHowManyRowsAreOpen) {
  EXPECT_EQ(MaxOpenRows(1, 5), 1);
  EXPECT_EQ(MaxOpenRows(2, 5), 2);
  EXPECT_EQ(MaxOpenRows(6, 5), 2);
  EXPECT_EQ(MaxOpenRows(7, 5), 3);
  EXPECT_EQ(MaxOpenRows(4, 1), 4);
}

TEST(TileWorkersTest, TilesDoNotPileUpBehindASlowOne) {
  for (const int64_t window : {1, 3, 6}) {
    Book book;
    // Tile 0 sleeps longest of all by far, compared with the rest.
    book.slow_tile_ = 0;
    std::thread release([&book] {
      std::this_thread::sleep_for(std::chrono::milliseconds(60));
      book.slow_may_end_ = true;
    });
    const absl::Status status = book.Run({.num_workers = 3, .window = window});
    release.join();
    INFLUENCE_ASSERT_OK(status);
    EXPECT_EQ(book.delivered_, Count(kTiles));
    EXPECT_LE(book.tiles_.most, window);
    EXPECT_GE(book.tiles_.most, std::min<int64_t>(window, 2));
  }
}

TEST(TileWorkersTest, ASinkWithoutOrderGetsTilesAtOnce) {
  Book book;
  book.any_order_ = true;
  book.slow_tile_ = 0;
  std::thread release([&book] {
    // All others are delivered while tile 0 is under way.
    for (bool ready = false; !ready; std::this_thread::yield()) {
      const std::lock_guard<std::mutex> lock(book.mutex_);
      ready = book.delivered_.size() == kTiles - 1;
    }
    book.slow_may_end_ = true;
  });
  const absl::Status status = book.Run({.num_workers = 2, .window = 1});
  release.join();
  INFLUENCE_ASSERT_OK(status);
  EXPECT_EQ(book.delivered_.back(), 0);
  std::sort(book.delivered_.begin(), book.delivered_.end());
  EXPECT_EQ(book.delivered_, Count(kTiles));
  EXPECT_LE(book.tiles_.most, 2);
}

TEST(TileWorkersTest, LeavesOutWhatIsThere) {
  Book book;
  book.unwanted_ = {0, 5, 6, 7, 8, 9, 17};
  INFLUENCE_ASSERT_OK(book.Run({.num_workers = 2}));
  EXPECT_THAT(book.delivered_,
              ElementsAre(1, 2, 3, 4, 10, 11, 12, 13, 14, 15, 16, 18, 19));
  std::sort(book.opened_.begin(), book.opened_.end());
  EXPECT_THAT(book.opened_, ElementsAre(0, 2, 3));
}

TEST(TileWorkersTest, TheFirstErrorInOrderIsReported) {
  for (int repeat = 0; repeat < 5; ++repeat) {
    Book book;
    // Tile 7 fails while tile 6, which fails as well, is still under way.
    book.failing_ = {6, 7, 8};
    book.slow_tile_ = 6;
    EXPECT_THAT(book.Run({.num_workers = 3}),
                StatusIs(absl::StatusCode::kDataLoss, "tile 6"));
    EXPECT_EQ(book.delivered_, Count(6));
    EXPECT_EQ(book.tiles_.now, 0);
    EXPECT_EQ(book.rows_.now, 0);
  }
}

TEST(TileWorkersTest, AnErrorStopsTheWorkers) {
  for (const int num_workers : {1, 2, 4}) {
    Book book;
    book.any_order_ = true;
    book.failing_ = {2};
    EXPECT_THAT(book.Run({.num_workers = num_workers}),
                StatusIs(absl::StatusCode::kDataLoss, "tile 2"));
    EXPECT_THAT(book.delivered_, Each(Le(2 + num_workers)));
  }
}

TEST(TileWorkersTest, ARowThatFailsIsAnError) {
  for (const int num_workers : {1, 3}) {
    Book book;
    book.failing_row_ = 2;
    EXPECT_THAT(book.Run({.num_workers = num_workers}),
                StatusIs(absl::StatusCode::kDataLoss, "row"));
    EXPECT_EQ(book.delivered_, Count(2 * kColumns));
  }
}

TEST(TileWorkersTest, AnErrorOfDeliveryIsAnError) {
  for (const bool any_order : {false, true}) {
    Book book;
    book.any_order_ = any_order;
    book.refused_ = 3;
    EXPECT_THAT(book.Run({.num_workers = 2}),
                StatusIs(absl::StatusCode::kOutOfRange, "refused"));
    if (!any_order) {
      EXPECT_EQ(book.delivered_, Count(3));
    }
  }
}

TEST(TileWorkersTest, AnExceptionIsAnError) {
  Book book;
  book.throwing_ = 4;
  EXPECT_THAT(book.Run({.num_workers = 2}),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("thrown")));
}

TEST(TileWorkersTest, CancellationEndsBetweenTiles) {
  Book book;
  const auto token = std::make_shared<CancellationToken>();
  TileWork work = book.Work();
  const auto open_row = work.open_row;
  work.open_row = [&](int64_t row) {
    if (row == 1) token->Cancel();
    return open_row(row);
  };
  CounterTileSchedule schedule(kTiles);
  EXPECT_THAT(
      RunTileWorkers(work, schedule, {.num_workers = 2, .cancellation = token},
                     /*stage=*/nullptr),
      StatusIs(absl::StatusCode::kCancelled, HasSubstr("of 20")));
  EXPECT_GE(book.delivered_.size(), 1u);
  EXPECT_LE(book.delivered_.size(), kColumns + 2u);
  EXPECT_EQ(book.delivered_,
            Count(static_cast<int64_t>(book.delivered_.size())));
}

TEST(TileWorkersTest, CancellationBeforeTheStartComputesNothing) {
  Book book;
  const auto token = std::make_shared<CancellationToken>();
  token->Cancel();
  EXPECT_THAT(book.Run({.num_workers = 2, .cancellation = token}),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("cancelled")));
  EXPECT_THAT(book.opened_, IsEmpty());
}

TEST(TileWorkersTest, WorkersOfAScheduleTakeItsTilesOnly) {
  Book book;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<ShardTileSchedule> schedule,
      ShardTileSchedule::Create(kTiles, 2, 3));
  INFLUENCE_ASSERT_OK(RunTileWorkers(book.Work(), *schedule, {.num_workers = 2},
                                     /*stage=*/nullptr));
  EXPECT_THAT(book.delivered_, ElementsAre(1, 4, 7, 10, 13, 16, 19));
  EXPECT_EQ(book.opened_.size(), 4u);
}

class BrokenSchedule : public TileSchedule {
 public:
  absl::StatusOr<std::optional<int64_t>> Next() override {
    if (next_ == 3) return absl::UnavailableError("counter");
    return next_++;
  }

 private:
  int64_t next_ = 0;
};

TEST(TileWorkersTest, AScheduleThatFailsIsAnError) {
  Book book;
  BrokenSchedule schedule;
  EXPECT_THAT(RunTileWorkers(book.Work(), schedule, {.num_workers = 2},
                             /*stage=*/nullptr),
              StatusIs(absl::StatusCode::kUnavailable, "counter"));
  EXPECT_EQ(book.delivered_, Count(3));
}

class Reporter : public ProgressReporter {
 public:
  void Begin(absl::string_view, int64_t total, absl::string_view) override {
    total_ = total;
  }
  void Advance(int64_t steps) override {
    steps_ += steps;
    threads_.insert(std::this_thread::get_id());
  }
  void End() override {}

  int64_t total_ = 0;
  int64_t steps_ = 0;
  std::set<std::thread::id> threads_;
};

TEST(TileWorkersTest, ProgressIsReportedInTheCallingThread) {
  for (const bool any_order : {false, true}) {
    Book book;
    book.any_order_ = any_order;
    book.unwanted_ = {0, 1, 19};
    Reporter reporter;
    ProgressStage stage(&reporter, "tiles", kTiles, "tiles");
    INFLUENCE_ASSERT_OK(book.Run({.num_workers = 2}, &stage));
    EXPECT_EQ(reporter.steps_, kTiles);
    EXPECT_THAT(reporter.threads_, ElementsAre(std::this_thread::get_id()));
  }
}

// Every third tile, as if others had the rest.
class OfSeveral : public TileSchedule {
 public:
  absl::StatusOr<std::optional<int64_t>> Next() override {
    next_ += 3;
    if (next_ >= kTiles) return std::nullopt;
    return next_;
  }
  bool TellsProgressOfAll() const override { return true; }

 private:
  int64_t next_ = -3;
};

TEST(TileWorkersTest, ProgressIsThatOfAllWhereTheScheduleTells) {
  Book book;
  OfSeveral schedule;
  Reporter reporter;
  ProgressStage stage(&reporter, "tiles", kTiles, "tiles");
  INFLUENCE_ASSERT_OK(
      RunTileWorkers(book.Work(), schedule, {.num_workers = 2}, &stage));
  EXPECT_EQ(book.delivered_.size(), 7u);
  EXPECT_EQ(reporter.steps_, kTiles);
}

TEST(TileWorkersTest, PutsTheNumberOfThreadsBack) {
  const int before = at::get_num_threads();
  at::set_num_threads(3);
  Book book;
  INFLUENCE_ASSERT_OK(book.Run({.num_workers = 2}));
  EXPECT_EQ(at::get_num_threads(), 3);
  at::set_num_threads(before);
}

TEST(TileWorkersTest, RefusesOptionsOutOfRange) {
  Book book;
  EXPECT_THAT(book.Run({.num_workers = -1}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("num_workers: found -1")));
  EXPECT_THAT(book.Run({.window = -2}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("window: found -2")));
  EXPECT_GE(DefaultNumWorkers(), 1);
}

}  // namespace
}  // namespace influence
