// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/communicator.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/validators.h"

namespace influence {
namespace {

class LocalCounter : public SharedCounter {
 public:
  absl::StatusOr<int64_t> FetchAdd(int64_t amount) override {
    return value_.fetch_add(amount);
  }

 private:
  std::atomic<int64_t> value_ = 0;
};

class SingleProcessCommunicator : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::vector<int> RanksOnMachine() const override { return {0}; }

  absl::Status AllReduceSum(const at::Tensor& values) override {
    return ValidateMessage(values);
  }

  absl::Status Broadcast(const at::Tensor& values, int /*root*/) override {
    return ValidateMessage(values);
  }

  absl::StatusOr<std::string> BroadcastText(const std::string& text,
                                            int /*root*/) override {
    return text;
  }

  absl::Status Barrier() override { return absl::OkStatus(); }

  absl::StatusOr<std::unique_ptr<SharedCounter>> CreateCounter() override {
    return std::make_unique<LocalCounter>();
  }

  void Abort(int exit_code) override { std::_Exit(exit_code); }
};

}  // namespace

std::unique_ptr<Communicator> SingleProcess() {
  return std::make_unique<SingleProcessCommunicator>();
}

RankShare ShareOf(int64_t count, const Communicator* communicator) {
  if (communicator == nullptr) return {0, count};
  const int64_t rank = communicator->rank();
  const int64_t size = communicator->size();
  return {rank * count / size, (rank + 1) * count / size};
}

absl::Status ValidateMessage(const at::Tensor& values) {
  if (!values.defined()) {
    return absl::InvalidArgumentError("message: found an undefined tensor");
  }
  const at::ScalarType dtype = values.scalar_type();
  if ((dtype != at::kFloat && dtype != at::kDouble && dtype != at::kLong) ||
      !values.is_contiguous() || !values.is_cpu()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "message: found ", DtypeName(dtype), " ", ShapeString(values),
        values.is_contiguous() ? "" : ", not contiguous",
        values.is_cpu() ? "" : ", not on the CPU",
        ", expected float32, float64 or int64, contiguous, on the CPU"));
  }
  return absl::OkStatus();
}

}  // namespace influence
