// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// JoinProcessGroup() with Open MPI's C interface.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "calculators/process_group.h"
#include "mpi/mpi.h"

namespace influence {
namespace {

// Entries of a message: counts are of type int.
constexpr int64_t kMaxEntries = int64_t{1} << 28;

// One call of MPI at a time, in the whole process: that is what is asked of it
// (MPI_THREAD_SERIALIZED).
std::mutex& MpiMutex() {
  static auto* const mutex = new std::mutex;  // Never destroyed.
  return *mutex;
}

absl::Status StatusOf(int code, absl::string_view what) {
  if (code == MPI_SUCCESS) return absl::OkStatus();
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  return absl::InternalError(
      absl::StrCat("MPI: ", what, ": ", absl::string_view(text, length)));
}

MPI_Datatype TypeOf(const at::Tensor& values) {
  switch (values.scalar_type()) {
    case at::kFloat:
      return MPI_FLOAT;
    case at::kDouble:
      return MPI_DOUBLE;
    default:
      return MPI_INT64_T;
  }
}

// Calls function(pointer, count) for all of the tensor's entries.
template <typename Function>
absl::Status InPieces(const at::Tensor& values, const Function& function) {
  auto* const bytes = static_cast<char*>(values.data_ptr());
  const int64_t count = values.numel();
  for (int64_t begin = 0; begin < count; begin += kMaxEntries) {
    const auto length = static_cast<int>(std::min(kMaxEntries, count - begin));
    INFLUENCE_RETURN_IF_ERROR(
        function(bytes + begin * values.element_size(), length));
  }
  return absl::OkStatus();
}

class MpiCounter : public SharedCounter {
 public:
  // Borrows the window, in whose memory on rank 0 the number is.
  explicit MpiCounter(MPI_Win window) : window_(window) {}

  absl::StatusOr<int64_t> FetchAdd(int64_t amount) override {
    const std::lock_guard<std::mutex> lock(MpiMutex());
    int64_t before = 0;
    INFLUENCE_RETURN_IF_ERROR(StatusOf(
        MPI_Fetch_and_op(&amount, &before, MPI_INT64_T, 0, 0, MPI_SUM, window_),
        "adding to a counter"));
    INFLUENCE_RETURN_IF_ERROR(
        StatusOf(MPI_Win_flush(0, window_), "reading a counter"));
    return before;
  }

 private:
  MPI_Win window_;
};

class MpiCommunicator : public Communicator {
 public:
  static absl::StatusOr<std::unique_ptr<Communicator>> Create() {
    const std::lock_guard<std::mutex> lock(MpiMutex());
    int provided = MPI_THREAD_SINGLE;
    INFLUENCE_RETURN_IF_ERROR(StatusOf(
        MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided),
        "starting"));
    if (provided < MPI_THREAD_SERIALIZED) {
      return absl::InternalError(absl::StrCat(
          "MPI: found thread support ", provided, ", expected at least ",
          static_cast<int>(MPI_THREAD_SERIALIZED), " (serialized)"));
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    int rank = 0;
    int size = 1;
    INFLUENCE_RETURN_IF_ERROR(
        StatusOf(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "rank"));
    INFLUENCE_RETURN_IF_ERROR(
        StatusOf(MPI_Comm_size(MPI_COMM_WORLD, &size), "size"));
    MPI_Comm machine = MPI_COMM_NULL;
    INFLUENCE_RETURN_IF_ERROR(
        StatusOf(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank,
                                     MPI_INFO_NULL, &machine),
                 "ranks of the machine"));
    int num_on_machine = 1;
    MPI_Comm_size(machine, &num_on_machine);
    std::vector<int> on_machine(num_on_machine);
    INFLUENCE_RETURN_IF_ERROR(
        StatusOf(MPI_Allgather(&rank, 1, MPI_INT, on_machine.data(), 1, MPI_INT,
                               machine),
                 "ranks of the machine"));
    MPI_Comm_free(&machine);
    return std::unique_ptr<Communicator>(
        new MpiCommunicator(rank, size, std::move(on_machine)));
  }

  // Waits for the other ranks.
  ~MpiCommunicator() override {
    Barrier().IgnoreError();
    const std::lock_guard<std::mutex> lock(MpiMutex());
    for (MPI_Win& window : windows_) {
      MPI_Win_unlock_all(window);
      MPI_Win_free(&window);
    }
    MPI_Finalize();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::vector<int> RanksOnMachine() const override { return on_machine_; }

  absl::Status AllReduceSum(const at::Tensor& values) override {
    INFLUENCE_RETURN_IF_ERROR(ValidateMessage(values));
    const std::lock_guard<std::mutex> lock(MpiMutex());
    return InPieces(values, [&](void* piece, int count) {
      return StatusOf(MPI_Allreduce(MPI_IN_PLACE, piece, count, TypeOf(values),
                                    MPI_SUM, MPI_COMM_WORLD),
                      "sum over the ranks");
    });
  }

  absl::Status Broadcast(const at::Tensor& values, int root) override {
    INFLUENCE_RETURN_IF_ERROR(ValidateMessage(values));
    const std::lock_guard<std::mutex> lock(MpiMutex());
    return InPieces(values, [&](void* piece, int count) {
      return StatusOf(
          MPI_Bcast(piece, count, TypeOf(values), root, MPI_COMM_WORLD),
          "broadcast");
    });
  }

  absl::StatusOr<std::string> BroadcastText(const std::string& text,
                                            int root) override {
    const std::lock_guard<std::mutex> lock(MpiMutex());
    auto length = static_cast<int64_t>(text.size());
    INFLUENCE_RETURN_IF_ERROR(StatusOf(
        MPI_Bcast(&length, 1, MPI_INT64_T, root, MPI_COMM_WORLD), "broadcast"));
    std::string result = text;
    result.resize(length);
    for (int64_t begin = 0; begin < length; begin += kMaxEntries) {
      INFLUENCE_RETURN_IF_ERROR(StatusOf(
          MPI_Bcast(result.data() + begin,
                    static_cast<int>(std::min(kMaxEntries, length - begin)),
                    MPI_CHAR, root, MPI_COMM_WORLD),
          "broadcast"));
    }
    return result;
  }

  // MPI's own barrier keeps a core busy, which the others may need for long.
  absl::Status Barrier() override {
    MPI_Request request = MPI_REQUEST_NULL;
    {
      const std::lock_guard<std::mutex> lock(MpiMutex());
      INFLUENCE_RETURN_IF_ERROR(
          StatusOf(MPI_Ibarrier(MPI_COMM_WORLD, &request), "barrier"));
    }
    while (true) {
      int is_over = 0;
      {
        const std::lock_guard<std::mutex> lock(MpiMutex());
        INFLUENCE_RETURN_IF_ERROR(StatusOf(
            MPI_Test(&request, &is_over, MPI_STATUS_IGNORE), "barrier"));
      }
      if (is_over != 0) return absl::OkStatus();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  absl::StatusOr<std::unique_ptr<SharedCounter>> CreateCounter() override {
    const std::lock_guard<std::mutex> lock(MpiMutex());
    int64_t* memory = nullptr;
    MPI_Win window = MPI_WIN_NULL;
    INFLUENCE_RETURN_IF_ERROR(StatusOf(
        MPI_Win_allocate(rank_ == 0 ? sizeof(int64_t) : 0, sizeof(int64_t),
                         MPI_INFO_NULL, MPI_COMM_WORLD,
                         static_cast<void*>(&memory), &window),
        "allocating a counter"));
    INFLUENCE_RETURN_IF_ERROR(StatusOf(
        MPI_Win_set_errhandler(window, MPI_ERRORS_RETURN), "making a counter"));
    if (rank_ == 0) {
      INFLUENCE_RETURN_IF_ERROR(StatusOf(
          MPI_Win_lock(MPI_LOCK_EXCLUSIVE, 0, 0, window), "locking a counter"));
      *memory = 0;
      INFLUENCE_RETURN_IF_ERROR(
          StatusOf(MPI_Win_unlock(0, window), "unlocking a counter"));
    }
    INFLUENCE_RETURN_IF_ERROR(
        StatusOf(MPI_Barrier(MPI_COMM_WORLD), "waiting for a counter"));
    INFLUENCE_RETURN_IF_ERROR(
        StatusOf(MPI_Win_lock_all(0, window), "opening a counter"));
    // To give a window back is collective, and a rank that fails would wait for
    // the others in it.
    windows_.push_back(window);
    return std::make_unique<MpiCounter>(window);
  }

  void Abort(int exit_code) override {
    // Without the lock: another thread may be waiting inside MPI.
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    std::_Exit(exit_code);
  }

 private:
  MpiCommunicator(int rank, int size, std::vector<int> on_machine)
      : rank_(rank), size_(size), on_machine_(std::move(on_machine)) {}

  const int rank_;
  const int size_;
  const std::vector<int> on_machine_;
  std::vector<MPI_Win> windows_;  // Of all counters.
};

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> JoinProcessGroup() {
  // Without them MPI would start a job of its own, which takes its time.
  if (std::getenv("OMPI_COMM_WORLD_SIZE") == nullptr &&
      std::getenv("PMIX_RANK") == nullptr) {
    return SingleProcess();
  }
  return MpiCommunicator::Create();
}

}  // namespace influence
