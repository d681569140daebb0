// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/thread_team.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/full.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST(ThreadTeamTest, SumsOverTheRanks) {
  for (const int size : {1, 2, 3}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kLong}) {
      std::vector<at::Tensor> sums(size);
      const std::vector<absl::Status> statuses =
          RunThreadTeam(size, [&](Communicator& communicator) -> absl::Status {
            EXPECT_EQ(communicator.size(), size);
            EXPECT_THAT(communicator.RanksOnMachine(), SizeIs(size));
            EXPECT_THAT(communicator.RanksOnMachine(),
                        Contains(communicator.rank()));
            at::Tensor values = at::arange(6, at::TensorOptions(dtype))
                                    .mul_(communicator.rank() + 1)
                                    .reshape({2, 3});
            INFLUENCE_RETURN_IF_ERROR(communicator.AllReduceSum(values));
            sums[communicator.rank()] = values;
            return absl::OkStatus();
          });
      EXPECT_THAT(statuses, Each(IsOk()));
      for (const at::Tensor& sum : sums) {
        EXPECT_TRUE(at::equal(sum, at::arange(6, at::TensorOptions(dtype))
                                       .mul_(size * (size + 1) / 2)
                                       .reshape({2, 3})));
      }
    }
  }
}

TEST(ThreadTeamTest, TellsWhatOneRankHas) {
  std::vector<std::string> texts(3);
  std::vector<double> values(3);
  const std::vector<absl::Status> statuses =
      RunThreadTeam(3, [&](Communicator& communicator) -> absl::Status {
        const int rank = communicator.rank();
        INFLUENCE_ASSIGN_OR_RETURN(
            texts[rank],
            communicator.BroadcastText(absl::StrCat("rank ", rank), 2));
        INFLUENCE_RETURN_IF_ERROR(communicator.Barrier());
        const at::Tensor value = at::full({1}, rank + 10, at::kDouble);
        INFLUENCE_RETURN_IF_ERROR(communicator.Broadcast(value, 1));
        values[rank] = value.item<double>();
        return absl::OkStatus();
      });
  EXPECT_THAT(statuses, Each(IsOk()));
  EXPECT_THAT(texts, Each(std::string("rank 2")));
  EXPECT_THAT(values, Each(11.0));
}

TEST(ThreadTeamTest, CountersAreSharedAndEachItsOwn) {
  std::mutex mutex;
  std::multiset<int64_t> taken;
  const std::vector<absl::Status> statuses =
      RunThreadTeam(3, [&](Communicator& communicator) -> absl::Status {
        for (int repeat = 0; repeat < 2; ++repeat) {
          INFLUENCE_ASSIGN_OR_RETURN(
              const std::unique_ptr<SharedCounter> counter,
              communicator.CreateCounter());
          for (int i = 0; i < 10; ++i) {
            INFLUENCE_ASSIGN_OR_RETURN(const int64_t before,
                                       counter->FetchAdd(2));
            const std::lock_guard<std::mutex> lock(mutex);
            taken.insert(before);
          }
        }
        return absl::OkStatus();
      });
  EXPECT_THAT(statuses, Each(IsOk()));
  std::multiset<int64_t> expected;
  for (int64_t i = 0; i < 30; ++i) {
    expected.insert(2 * i);
    expected.insert(2 * i);
  }
  EXPECT_EQ(taken, expected);
}

TEST(ThreadTeamTest, AnErrorReachesThoseWhoWait) {
  for (const bool throws : {false, true}) {
    const std::vector<absl::Status> statuses =
        RunThreadTeam(3, [&](Communicator& communicator) -> absl::Status {
          if (communicator.rank() == 1) {
            if (throws) throw std::runtime_error("lost");
            return absl::DataLossError("lost");
          }
          return communicator.Barrier();
        });
    EXPECT_THAT(statuses[0], StatusIs(absl::StatusCode::kAborted,
                                      HasSubstr("another rank")));
    EXPECT_THAT(statuses[2], StatusIs(absl::StatusCode::kAborted,
                                      HasSubstr("another rank")));
    EXPECT_THAT(FirstError(statuses),
                StatusIs(throws ? absl::StatusCode::kInternal
                                : absl::StatusCode::kDataLoss,
                         HasSubstr("lost")));
  }
  EXPECT_THAT(FirstError({absl::OkStatus(), absl::OkStatus()}), IsOk());
}

TEST(ThreadTeamTest, RefusesTensorsThatDiffer) {
  const std::vector<absl::Status> statuses =
      RunThreadTeam(2, [&](Communicator& communicator) -> absl::Status {
        return communicator.AllReduceSum(
            at::zeros({1 + communicator.rank()}, at::kDouble));
      });
  EXPECT_THAT(statuses, Each(StatusIs(absl::StatusCode::kInvalidArgument,
                                      HasSubstr("other shapes"))));
}

TEST(ThreadTeamTest, WorksOnOneThreadEachAndPutsTheNumberBack) {
  const int before = at::get_num_threads();
  at::set_num_threads(3);
  std::vector<int> found(2);
  EXPECT_THAT(RunThreadTeam(2,
                            [&](Communicator& communicator) {
                              found[communicator.rank()] =
                                  at::get_num_threads();
                              return absl::OkStatus();
                            }),
              Each(IsOk()));
  EXPECT_THAT(found, Each(1));
  EXPECT_EQ(at::get_num_threads(), 3);
  at::set_num_threads(before);
}

}  // namespace
}  // namespace influence
