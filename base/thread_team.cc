// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/thread_team.h"

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/worker_pool.h"

namespace influence {
namespace {

// Where the ranks meet.
class MeetingPoint {
 public:
  explicit MeetingPoint(int size) : messages_(size) {}

  int size() const { return static_cast<int>(messages_.size()); }

  // Waits until every rank has come with its message. The last one calls
  // `exchange` with all of them, and all get its result.
  absl::Status Meet(
      int rank, void* message,
      absl::FunctionRef<absl::Status(const std::vector<void*>&)> exchange) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (aborted_) return Aborted();
    messages_[rank] = message;
    if (++num_present_ == size()) {
      result_ = exchange(messages_);
      num_present_ = 0;
      ++meeting_;
      changed_.notify_all();
      return result_;
    }
    const int64_t meeting = meeting_;
    changed_.wait(lock, [&] { return meeting_ != meeting || aborted_; });
    return meeting_ != meeting ? result_ : Aborted();
  }

  void Abort() {
    const std::lock_guard<std::mutex> lock(mutex_);
    aborted_ = true;
    changed_.notify_all();
  }

 private:
  static absl::Status Aborted() {
    return absl::AbortedError("another rank has failed");
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<void*> messages_;  // By rank.
  int num_present_ = 0;
  int64_t meeting_ = 0;
  absl::Status result_;  // Of the last meeting.
  bool aborted_ = false;
};

class TeamCounter : public SharedCounter {
 public:
  explicit TeamCounter(std::shared_ptr<std::atomic<int64_t>> value)
      : value_(std::move(value)) {}

  absl::StatusOr<int64_t> FetchAdd(int64_t amount) override {
    return value_->fetch_add(amount);
  }

 private:
  std::shared_ptr<std::atomic<int64_t>> value_;
};

class TeamMember : public Communicator {
 public:
  TeamMember(MeetingPoint* point, int rank) : point_(point), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return point_->size(); }

  std::vector<int> RanksOnMachine() const override {
    std::vector<int> ranks(size());
    std::iota(ranks.begin(), ranks.end(), 0);
    return ranks;
  }

  absl::Status AllReduceSum(const at::Tensor& values) override {
    return Exchange(values, [](const std::vector<at::Tensor>& of_ranks) {
      const at::Tensor sum = of_ranks[0].clone();
      for (size_t r = 1; r < of_ranks.size(); ++r) sum.add_(of_ranks[r]);
      for (const at::Tensor& of_rank : of_ranks) of_rank.copy_(sum);
    });
  }

  absl::Status Broadcast(const at::Tensor& values, int root) override {
    return Exchange(values, [root](const std::vector<at::Tensor>& of_ranks) {
      for (size_t r = 0; r < of_ranks.size(); ++r) {
        if (static_cast<int>(r) != root) of_ranks[r].copy_(of_ranks[root]);
      }
    });
  }

  absl::StatusOr<std::string> BroadcastText(const std::string& text,
                                            int root) override {
    std::string result = text;
    INFLUENCE_RETURN_IF_ERROR(
        point_->Meet(rank_, &result, [root](const std::vector<void*>& texts) {
          const std::string& found = *static_cast<std::string*>(texts[root]);
          for (void* other : texts) {
            if (other != texts[root]) *static_cast<std::string*>(other) = found;
          }
          return absl::OkStatus();
        }));
    return result;
  }

  absl::Status Barrier() override {
    return point_->Meet(rank_, nullptr, [](const std::vector<void*>&) {
      return absl::OkStatus();
    });
  }

  absl::StatusOr<std::unique_ptr<SharedCounter>> CreateCounter() override {
    std::shared_ptr<std::atomic<int64_t>> value;
    INFLUENCE_RETURN_IF_ERROR(
        point_->Meet(rank_, &value, [](const std::vector<void*>& values) {
          const auto shared = std::make_shared<std::atomic<int64_t>>(0);
          for (void* of_rank : values) {
            *static_cast<std::shared_ptr<std::atomic<int64_t>>*>(of_rank) =
                shared;
          }
          return absl::OkStatus();
        }));
    return std::make_unique<TeamCounter>(std::move(value));
  }

  void Abort(int /*exit_code*/) override { point_->Abort(); }

 private:
  // Calls `exchange` once with the tensors of all ranks, which are alike.
  template <typename Function>
  absl::Status Exchange(const at::Tensor& values, const Function& exchange) {
    INFLUENCE_RETURN_IF_ERROR(ValidateMessage(values));
    at::Tensor message = values;
    return point_->Meet(
        rank_, &message,
        [&](const std::vector<void*>& messages) -> absl::Status {
          std::vector<at::Tensor> of_ranks;
          of_ranks.reserve(messages.size());
          for (const void* of_rank : messages) {
            of_ranks.push_back(*static_cast<const at::Tensor*>(of_rank));
            if (of_ranks.back().sizes() != values.sizes() ||
                of_ranks.back().scalar_type() != values.scalar_type()) {
              return absl::InvalidArgumentError(
                  "message: found other shapes or dtypes on other ranks");
            }
          }
          return CatchTorch("message", [&] {
            exchange(of_ranks);
            return absl::OkStatus();
          });
        });
  }

  MeetingPoint* const point_;
  const int rank_;
};

}  // namespace

std::vector<absl::Status> RunThreadTeam(
    int size, const std::function<absl::Status(Communicator&)>& work) {
  INFLUENCE_CHECK(size >= 1);
  MeetingPoint point(size);
  std::vector<absl::Status> statuses(size);
  const auto work_as = [&](int rank) {
    TeamMember member(&point, rank);
    statuses[rank] =
        CatchTorch(absl::StrCat("rank ", rank), [&] { return work(member); });
    if (!statuses[rank].ok()) member.Abort(1);
  };
  const WorkerScope scope;
  WorkerGroup others;
  for (int rank = 1; rank < size; ++rank) {
    absl::Status started = others.Start([&work_as, rank] { work_as(rank); });
    if (started.ok()) continue;
    statuses[rank] = std::move(started);
    point.Abort();
  }
  work_as(0);
  others.Wait();
  return statuses;
}

absl::Status FirstError(const std::vector<absl::Status>& statuses) {
  absl::Status first;
  for (const absl::Status& status : statuses) {
    if (status.ok()) continue;
    if (!absl::IsAborted(status)) return status;
    if (first.ok()) first = status;
  }
  return first;
}

}  // namespace influence
