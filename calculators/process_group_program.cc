// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What process_group_test.sh starts with mpirun: checks every member of the
// communicator, or fails on one rank.
#include <cstdint>
#include <cstdio>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/full.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "calculators/process_group.h"

namespace influence {
namespace {

#define EXPECT_TRUE_OR_FAIL(condition)                \
  do {                                                \
    if (!(condition)) {                               \
      return absl::InternalError("not: " #condition); \
    }                                                 \
  } while (false)

absl::Status Check(Communicator& communicator) {
  const int rank = communicator.rank();
  const int size = communicator.size();
  EXPECT_TRUE_OR_FAIL(rank >= 0 && rank < size);
  std::vector<int> all(size);  // The test has one machine.
  std::iota(all.begin(), all.end(), 0);
  EXPECT_TRUE_OR_FAIL(communicator.RanksOnMachine() == all);
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kLong}) {
    const at::TensorOptions options(dtype);
    const at::Tensor values = at::arange(6, options).mul(rank + 1);
    INFLUENCE_RETURN_IF_ERROR(communicator.AllReduceSum(values));
    EXPECT_TRUE_OR_FAIL(
        at::equal(values, at::arange(6, options).mul(size * (size + 1) / 2)));
    const at::Tensor sent = at::full({2, 2}, rank + 10, options);
    INFLUENCE_RETURN_IF_ERROR(communicator.Broadcast(sent, size - 1));
    EXPECT_TRUE_OR_FAIL(at::equal(sent, at::full({2, 2}, size + 9, options)));
  }
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::string text,
      communicator.BroadcastText(absl::StrCat("rank ", rank), 0));
  EXPECT_TRUE_OR_FAIL(text == "rank 0");
  EXPECT_TRUE_OR_FAIL(
      absl::IsInvalidArgument(communicator.AllReduceSum(at::Tensor())));

  // Every number is handed out once.
  constexpr int64_t kCount = 200;
  const at::Tensor taken = at::full({kCount * size}, 0, at::kLong);
  for (int repeat = 0; repeat < 2; ++repeat) {
    INFLUENCE_ASSIGN_OR_RETURN(const std::unique_ptr<SharedCounter> counter,
                               communicator.CreateCounter());
    for (int64_t i = 0; i < kCount; ++i) {
      INFLUENCE_ASSIGN_OR_RETURN(const int64_t before, counter->FetchAdd(1));
      EXPECT_TRUE_OR_FAIL(before >= 0 && before < kCount * size);
      taken.data_ptr<int64_t>()[before] += 1;
    }
  }
  INFLUENCE_RETURN_IF_ERROR(communicator.AllReduceSum(taken));
  EXPECT_TRUE_OR_FAIL(
      at::equal(taken, at::full({kCount * size}, 2, at::kLong)));
  return communicator.Barrier();
}

absl::Status Run(const std::string& what) {
  INFLUENCE_ASSIGN_OR_RETURN(const std::unique_ptr<Communicator> communicator,
                             JoinProcessGroup());
  if (what == "fail") {
    if (communicator->rank() == communicator->size() - 1) {
      std::fprintf(stderr, "the first error\n");
      communicator->Abort(7);
    }
    return communicator->Barrier();
  }
  INFLUENCE_RETURN_IF_ERROR(Check(*communicator));
  if (communicator->rank() == 0) {
    std::printf("%d ranks\n", communicator->size());
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace influence

int main(int argc, char** argv) {
  const absl::Status status = influence::Run(argc > 1 ? argv[1] : "check");
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}
