// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/rank_chunks.h"

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/full.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "base/thread_team.h"
#include "calculators/zarr_store_writer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

at::Tensor Number(int64_t value) { return at::full({}, value, at::kLong); }

// Each chunk is computed once, by the rank whose turn it is, and delivered to
// all in order.
TEST(RankChunksTest, RanksTakeTurns) {
  std::mutex mutex;
  std::vector<std::string> computed;
  std::vector<std::vector<int64_t>> delivered(3);
  INFLUENCE_ASSERT_OK(FirstError(
      RunThreadTeam(3, [&](Communicator& communicator) -> absl::Status {
        const int rank = communicator.rank();
        return ComputeInTurns(
            communicator, {2, 3, 5, 7},
            [&](int64_t index) -> absl::StatusOr<at::Tensor> {
              const std::lock_guard<std::mutex> lock(mutex);
              computed.push_back(absl::StrCat(index, " by ", rank));
              return Number(10 * index);
            },
            [&](int64_t index, const at::Tensor& chunk) {
              EXPECT_EQ(chunk.item<int64_t>(), 10 * index);
              delivered[rank].push_back(index);
              return absl::OkStatus();
            });
      })));
  EXPECT_THAT(computed, ::testing::UnorderedElementsAre("2 by 0", "3 by 1",
                                                        "5 by 2", "7 by 0"));
  for (const std::vector<int64_t>& of_rank : delivered) {
    EXPECT_THAT(of_rank, ElementsAre(2, 3, 5, 7));
  }
}

TEST(RankChunksTest, AnErrorEndsTheTeam) {
  for (const int failing : {0, 1}) {
    EXPECT_THAT(
        FirstError(RunThreadTeam(
            2,
            [&](Communicator& communicator) -> absl::Status {
              return ComputeInTurns(
                  communicator, {0, 1, 2},
                  [&](int64_t index) -> absl::StatusOr<at::Tensor> {
                    if (communicator.rank() == failing) {
                      return absl::DataLossError("chunk lost");
                    }
                    return Number(index);
                  },
                  [](int64_t, const at::Tensor&) { return absl::OkStatus(); });
            })),
        StatusIs(absl::StatusCode::kDataLoss, HasSubstr("chunk lost")));
  }
}

TEST(RankChunksTest, TheFirstRankSaysWhatIsWanted) {
  INFLUENCE_ASSERT_OK(FirstError(
      RunThreadTeam(3, [](Communicator& communicator) -> absl::Status {
        INFLUENCE_ASSIGN_OR_RETURN(
            const std::vector<int64_t> wanted,
            WantedOnFirstRank(communicator, 4, [&](int64_t index) {
              EXPECT_EQ(communicator.rank(), 0);
              return index % 2 == 1;
            }));
        EXPECT_THAT(wanted, ElementsAre(1, 3));
        INFLUENCE_ASSIGN_OR_RETURN(
            const std::vector<int64_t> none,
            WantedOnFirstRank(communicator, 0, [](int64_t) { return true; }));
        EXPECT_THAT(none, IsEmpty());
        return absl::OkStatus();
      })));
}

TEST(RankChunksTest, AStoreAppearsForAll) {
  const std::string path = absl::StrCat(::testing::TempDir(), "/shared.zarr");
  INFLUENCE_ASSERT_OK(FirstError(
      RunThreadTeam(2, [&](Communicator& communicator) -> absl::Status {
        INFLUENCE_ASSIGN_OR_RETURN(
            const std::unique_ptr<ZarrStoreWriter> store,
            CreateSharedStore(communicator, path, /*overwrite=*/true));
        INFLUENCE_RETURN_IF_ERROR(store->SetGroupAttributes({{"a", 1}}));
        INFLUENCE_RETURN_IF_ERROR(CommitSharedStore(communicator, *store));
        EXPECT_THAT(CreateSharedStore(communicator, path, /*overwrite=*/false),
                    StatusIs(absl::StatusCode::kAlreadyExists,
                             HasSubstr("shared.zarr")));
        return absl::OkStatus();
      })));
}

}  // namespace
}  // namespace influence
