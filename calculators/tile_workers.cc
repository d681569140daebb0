// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/tile_workers.h"

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/available_processors.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/worker_pool.h"
#include "calculators/tile_schedule.h"
#include "gradients/differentiable_attention.h"

namespace influence {
namespace {

// One run. The members below the mutex are guarded by it.
class TileCrew {
 public:
  TileCrew(const TileWork& work, TileSchedule& schedule,
           const WorkerOptions& options)
      : work_(work),
        schedule_(schedule),
        cancellation_(options.cancellation.get()),
        num_workers_(options.num_workers > 0 ? options.num_workers
                                             : DefaultNumWorkers()),
        window_(options.window > 0 ? options.window
                                   : int64_t{2} * num_workers_),
        max_open_rows_(MaxOpenRows(num_workers_, work.columns)) {}

  absl::Status Run(ProgressStage* stage);

 private:
  using Lock = std::unique_lock<std::mutex>;
  using DeliverFunction = TileWork::DeliverFunction;
  using ComputeFunction = TileWork::ComputeFunction;

  static constexpr int64_t kNone = std::numeric_limits<int64_t>::max();

  // A tile that was taken and is not delivered yet. Tickets number the tiles
  // taken, in the order of the schedule.
  struct Slot {
    enum class State { kComputing, kReady, kOver };
    State state = State::kComputing;
    DeliverFunction deliver;
  };

  struct Row {
    enum class State { kClosed, kOpening, kOpen, kFailed };
    State state = State::kClosed;
    int64_t num_users = 0;  // Workers at one of its tiles.
    ComputeFunction compute;
    absl::Status status;
  };

  struct Taken {
    int64_t ticket, row, column;
  };

  void Work();
  void Deliver(Lock& lock, ProgressStage* stage);

  // Waits for room in the window, and takes a tile; nullopt when there is
  // nothing more to do.
  std::optional<Taken> Take(Lock& lock);

  // Opens the tile's row, or waits until another worker has. False if the tile
  // is to be given up: its row failed, or a tile before it.
  bool EnterRow(Lock& lock, const Taken& taken);
  void LeaveRow(int64_t row);
  void OpenRow(Lock& lock, int64_t row);

  // A row to open while another is being waited for.
  std::optional<int64_t> RowAhead() const;

  // Lets go of the rows that nobody needs any more.
  void CloseRows();

  bool Wants(int64_t tile) const {
    return !work_.wants ||
           work_.wants(tile / work_.columns, tile % work_.columns);
  }

  Slot& SlotOf(int64_t ticket) { return slots_[ticket - first_ticket_]; }

  void Fail(int64_t ticket, absl::Status status) {
    if (ticket >= failed_ticket_) return;
    failed_ticket_ = ticket;
    failure_ = std::move(status);
  }

  // The tile is neither computed nor delivered any more.
  bool IsGivenUp(int64_t ticket) const { return ticket > failed_ticket_; }

  const TileWork& work_;
  TileSchedule& schedule_;
  const CancellationToken* const cancellation_;  // May be null.
  const int num_workers_;
  const int64_t window_;
  const int64_t max_open_rows_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Slot> slots_;    // Of the tickets from first_ticket_ on.
  int64_t first_ticket_ = 0;  // The next to be delivered.
  int64_t last_tile_ = -1;    // The last one that was taken.
  std::map<int64_t, Row> rows_;
  int64_t num_finished_ = 0;  // Tiles that `stage` does not know of yet.
  int num_running_ = 0;       // Workers.
  bool any_order_ = false;
  bool exhausted_ = false;  // Of the schedule.
  bool cancelled_ = false;
  int64_t failed_ticket_ = kNone;
  absl::Status failure_;
};

std::optional<TileCrew::Taken> TileCrew::Take(Lock& lock) {
  changed_.wait(lock, [this] {
    return any_order_ || static_cast<int64_t>(slots_.size()) < window_ ||
           failed_ticket_ != kNone;
  });
  while (!exhausted_ && !cancelled_ && failed_ticket_ == kNone) {
    const absl::StatusOr<std::optional<int64_t>> next = schedule_.Next();
    const int64_t ticket = first_ticket_ + static_cast<int64_t>(slots_.size());
    if (!next.ok()) {
      Fail(ticket, next.status());
      break;
    }
    const int64_t tile =
        next->has_value() ? **next : work_.rows * work_.columns;
    // Those in between are the others'.
    if (schedule_.TellsProgressOfAll()) num_finished_ += tile - last_tile_ - 1;
    if (!next->has_value()) {
      exhausted_ = true;
      break;
    }
    last_tile_ = tile;
    if (!Wants(last_tile_)) {
      ++num_finished_;
      continue;
    }
    if (cancellation_ != nullptr && cancellation_->cancelled()) {
      cancelled_ = true;
      break;
    }
    slots_.emplace_back();
    const Taken taken = {ticket, last_tile_ / work_.columns,
                         last_tile_ % work_.columns};
    ++rows_[taken.row].num_users;
    CloseRows();
    return taken;
  }
  changed_.notify_all();
  return std::nullopt;
}

void TileCrew::CloseRows() {
  const int64_t current = last_tile_ / work_.columns;
  const std::optional<int64_t> next = schedule_.After(last_tile_);
  const bool current_is_done =
      exhausted_ || (next.has_value() && *next / work_.columns > current);
  for (auto row = rows_.begin(); row != rows_.end() && row->first <= current;) {
    const bool needed = row->second.num_users > 0 ||
                        row->second.state == Row::State::kOpening ||
                        (row->first == current && !current_is_done);
    row = needed ? std::next(row) : rows_.erase(row);
  }
}

std::optional<int64_t> TileCrew::RowAhead() const {
  if (static_cast<int64_t>(rows_.size()) >= max_open_rows_) return std::nullopt;
  const int64_t last_row =
      std::max(rows_.rbegin()->first, last_tile_ / work_.columns);
  std::optional<int64_t> tile =
      schedule_.After((last_row + 1) * work_.columns - 1);
  if (!tile.has_value()) return std::nullopt;
  const int64_t row = *tile / work_.columns;
  for (; tile.has_value() && *tile / work_.columns == row;
       tile = schedule_.After(*tile)) {
    if (Wants(*tile)) return row;
  }
  return std::nullopt;
}

void TileCrew::OpenRow(Lock& lock, int64_t row) {
  Row& opened = rows_[row];
  opened.state = Row::State::kOpening;  // Nobody else touches it then.
  lock.unlock();
  absl::StatusOr<ComputeFunction> compute =
      CatchTorch("computing", [&] { return work_.open_row(row); });
  lock.lock();
  if (compute.ok()) {
    opened.compute = *std::move(compute);
    opened.state = Row::State::kOpen;
  } else {
    opened.status = compute.status();
    opened.state = Row::State::kFailed;
  }
  changed_.notify_all();
}

bool TileCrew::EnterRow(Lock& lock, const Taken& taken) {
  const Row& row = rows_[taken.row];
  while (!IsGivenUp(taken.ticket)) {
    if (row.state == Row::State::kOpen) return true;
    if (row.state == Row::State::kFailed) {
      Fail(taken.ticket, row.status);
      return false;
    }
    if (row.state == Row::State::kClosed) {
      OpenRow(lock, taken.row);
      continue;
    }
    if (const std::optional<int64_t> ahead = RowAhead()) {
      OpenRow(lock, *ahead);
      continue;
    }
    changed_.wait(lock);
  }
  return false;
}

void TileCrew::LeaveRow(int64_t row) {
  --rows_[row].num_users;
  CloseRows();
}

void TileCrew::Work() {
  Lock lock(mutex_);
  while (const std::optional<Taken> taken = Take(lock)) {
    const int64_t ticket = taken->ticket;
    DeliverFunction deliver;
    if (EnterRow(lock, *taken)) {
      const ComputeFunction& compute = rows_[taken->row].compute;
      lock.unlock();
      absl::StatusOr<DeliverFunction> computed =
          CatchTorch("computing", [&] { return compute(taken->column); });
      lock.lock();
      if (computed.ok()) {
        deliver = *std::move(computed);
      } else {
        Fail(ticket, computed.status());
      }
    }
    LeaveRow(taken->row);
    if (deliver && any_order_ && !IsGivenUp(ticket)) {
      lock.unlock();
      absl::Status status = CatchTorch("computing", deliver);
      deliver = nullptr;
      lock.lock();
      if (status.ok()) {
        ++num_finished_;
      } else {
        Fail(ticket, std::move(status));
      }
    }
    Slot& slot = SlotOf(ticket);
    slot.state = deliver ? Slot::State::kReady : Slot::State::kOver;
    slot.deliver = std::move(deliver);
    changed_.notify_all();
  }
  --num_running_;
  changed_.notify_all();
}

void TileCrew::Deliver(Lock& lock, ProgressStage* stage) {
  while (true) {
    if (num_finished_ > 0) {
      const int64_t finished = std::exchange(num_finished_, 0);
      lock.unlock();
      if (stage != nullptr) stage->Advance(finished);
      lock.lock();
    } else if (!slots_.empty() && slots_.front().state == Slot::State::kOver) {
      slots_.pop_front();
      ++first_ticket_;
      changed_.notify_all();
    } else if (!slots_.empty() && slots_.front().state == Slot::State::kReady) {
      Slot& slot = slots_.front();  // Stays where it is when others come.
      DeliverFunction deliver = std::exchange(slot.deliver, nullptr);
      absl::Status status;
      bool any_order = any_order_;
      const bool given_up = IsGivenUp(first_ticket_);
      lock.unlock();
      if (!given_up) {
        status = CatchTorch("computing", deliver);
        any_order =
            any_order || (work_.takes_any_order && work_.takes_any_order());
      }
      deliver = nullptr;
      lock.lock();
      any_order_ = any_order;
      if (!status.ok()) {
        Fail(first_ticket_, std::move(status));
      } else if (!given_up) {
        ++num_finished_;
      }
      slot.state = Slot::State::kOver;
    } else if (slots_.empty() && num_running_ == 0) {
      return;
    } else {
      changed_.wait(lock);
    }
  }
}

absl::Status TileCrew::Run(ProgressStage* stage) {
  const DifferentiableAttentionScope differentiable_attention;
  {
    Lock lock(mutex_);
    num_running_ = num_workers_;
    any_order_ = work_.takes_any_order && work_.takes_any_order();
  }
  WorkerGroup workers;
  int num_started = 0;
  absl::Status started;
  while (num_started < num_workers_ && started.ok()) {
    started = workers.Start([this] { Work(); });
    if (started.ok()) ++num_started;
  }
  Lock lock(mutex_);
  if (!started.ok()) {
    num_running_ -= num_workers_ - num_started;
    Fail(-1, absl::ResourceExhaustedError(absl::StrCat(
                 "workers: found no thread for worker ", num_started + 1,
                 " of ", num_workers_, " (", started.message(), ")")));
    changed_.notify_all();
  }
  Deliver(lock, stage);
  lock.unlock();
  workers.Wait();
  rows_.clear();
  if (failed_ticket_ != kNone) return failure_;
  if (cancelled_) {
    return absl::CancelledError(absl::StrCat(
        "cancelled at tile ", last_tile_, " of ", work_.rows * work_.columns));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateWorkerOptions(const WorkerOptions& options) {
  if (options.num_workers < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "num_workers: found ", options.num_workers, ", expected >= 0"));
  }
  if (options.window < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("window: found ", options.window, ", expected >= 0"));
  }
  return absl::OkStatus();
}

int DefaultNumWorkers() { return AvailableProcessors(); }

int64_t MaxOpenRows(int num_workers, int64_t columns) {
  const int64_t step = std::max<int64_t>(columns, 1);
  return 1 + (num_workers - 1 + step - 1) / step;
}

absl::Status RunTileWorkers(const TileWork& work, TileSchedule& schedule,
                            const WorkerOptions& options,
                            ProgressStage* stage) {
  INFLUENCE_RETURN_IF_ERROR(ValidateWorkerOptions(options));
  TileCrew crew(work, schedule, options);
  return crew.Run(stage);
}

}  // namespace influence
