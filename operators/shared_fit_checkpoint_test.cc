// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/shared_fit_checkpoint.h"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/full.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/communicator.h"
#include "base/thread_team.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "operators/fit_checkpoint.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

// In memory; refuses the stage "broken".
class Memory : public FitCheckpoint {
 public:
  absl::StatusOr<std::optional<std::vector<at::Tensor>>> Find(
      absl::string_view stage) const override {
    if (stage == "broken") return absl::DataLossError("broken: found holes");
    const auto found = stages.find(std::string(stage));
    if (found == stages.end()) return std::nullopt;
    return found->second;
  }

  absl::Status Keep(absl::string_view stage,
                    const std::vector<at::Tensor>& arrays) override {
    if (stage == "broken") return absl::ResourceExhaustedError("disk: is full");
    stages[std::string(stage)] = arrays;
    return absl::OkStatus();
  }

  std::map<std::string, std::vector<at::Tensor>> stages;
};

// What each of three ranks says of `work` with the checkpoint that they share.
template <typename Work>
std::vector<absl::Status> OnRanks(FitCheckpoint* kept, const Work& work) {
  return RunThreadTeam(3, [&](Communicator& communicator) {
    SharedFitCheckpoint checkpoint(
        std::shared_ptr<Communicator>(std::shared_ptr<void>(), &communicator),
        communicator.rank() == 0 ? kept : nullptr);
    return work(communicator.rank(), checkpoint);
  });
}

TEST(SharedFitCheckpointTest, AllFindWhatTheFirstHasKept) {
  Memory memory;
  const std::vector<at::Tensor> expected = {
      at::arange(6, at::kDouble).reshape({2, 3}), at::full({1}, 7, at::kLong),
      at::full({0, 2}, 0.0, at::kFloat)};
  INFLUENCE_ASSERT_OK(FirstError(OnRanks(
      &memory, [&](int rank, SharedFitCheckpoint& checkpoint) -> absl::Status {
        // Whatever the others hand over, it is rank 0's that counts.
        std::vector<at::Tensor> arrays = expected;
        if (rank > 0) arrays.pop_back();
        return checkpoint.Keep("sums", arrays);
      })));
  ASSERT_EQ(memory.stages.size(), 1);
  memory.stages["empty"] = {};

  std::vector<std::optional<std::vector<at::Tensor>>> sums(3), empty(3),
      other(3);
  INFLUENCE_ASSERT_OK(FirstError(OnRanks(
      &memory, [&](int rank, SharedFitCheckpoint& checkpoint) -> absl::Status {
        sums[rank] = checkpoint.Find("sums").value();
        empty[rank] = checkpoint.Find("empty").value();
        other[rank] = checkpoint.Find("other").value();
        return absl::OkStatus();
      })));
  for (int rank = 0; rank < 3; ++rank) {
    SCOPED_TRACE(rank);
    ASSERT_TRUE(sums[rank].has_value());
    ASSERT_EQ(sums[rank]->size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ((*sums[rank])[i].scalar_type(), expected[i].scalar_type());
      EXPECT_TRUE((*sums[rank])[i].equal(expected[i]));
    }
    ASSERT_TRUE(empty[rank].has_value());
    EXPECT_TRUE(empty[rank]->empty());
    EXPECT_FALSE(other[rank].has_value());
  }
}

TEST(SharedFitCheckpointTest, AllHaveTheErrorOfTheFirst) {
  Memory memory;
  for (const absl::Status& status :
       OnRanks(&memory, [](int, SharedFitCheckpoint& checkpoint) {
         return checkpoint.Keep("broken", {});
       })) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted,
                                 HasSubstr("disk: is full")));
  }
  for (const absl::Status& status :
       OnRanks(&memory, [](int, SharedFitCheckpoint& checkpoint) {
         return checkpoint.Find("broken").status();
       })) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss,
                                 HasSubstr("broken: found holes")));
  }
}

TEST(SharedFitCheckpointTest, KeepsNothingWithoutAPlace) {
  INFLUENCE_EXPECT_OK(FirstError(OnRanks(
      nullptr, [](int, SharedFitCheckpoint& checkpoint) -> absl::Status {
        INFLUENCE_EXPECT_OK(checkpoint.Keep("sums", {}));
        EXPECT_FALSE(checkpoint.Find("sums").value().has_value());
        return absl::OkStatus();
      })));
}

}  // namespace
}  // namespace influence
