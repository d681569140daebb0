// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/broadcast.h"

#include <memory>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/ones.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "base/thread_team.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

// Each rank passes a status of its own; all get that of rank 1.
TEST(BroadcastTest, AllGetTheStatusOfOne) {
  INFLUENCE_ASSERT_OK(FirstError(
      RunThreadTeam(3, [](Communicator& communicator) -> absl::Status {
        const int rank = communicator.rank();
        const absl::Status mine =
            rank == 2
                ? absl::OkStatus()
                : absl::NotFoundError(absl::StrCat("rank ", rank, " of 3"));
        EXPECT_THAT(BroadcastStatus(communicator, mine, 1),
                    StatusIs(absl::StatusCode::kNotFound,
                             ::testing::Eq("rank 1 of 3")));
        INFLUENCE_EXPECT_OK(BroadcastStatus(communicator, mine, 2));
        return absl::OkStatus();
      })));
}

// Of any shape, in memory as a transpose, or without entries.
TEST(BroadcastTest, AllGetTheTensorOfOne) {
  for (const at::Tensor& sent :
       {at::arange(6, at::kDouble).view({2, 3}).t(), at::ones({}, at::kLong),
        at::ones({0, 4}, at::kFloat)}) {
    INFLUENCE_ASSERT_OK(FirstError(
        RunThreadTeam(3, [&sent](Communicator& communicator) -> absl::Status {
          INFLUENCE_ASSIGN_OR_RETURN(
              const at::Tensor got,
              BroadcastTensor(communicator,
                              communicator.rank() == 1 ? sent : at::Tensor(),
                              1));
          EXPECT_EQ(got.scalar_type(), sent.scalar_type());
          EXPECT_TRUE(at::equal(got, sent));
          return absl::OkStatus();
        })));
  }
}

TEST(BroadcastTest, OneProcessKeepsWhatItHas) {
  const std::unique_ptr<Communicator> alone = SingleProcess();
  EXPECT_THAT(BroadcastStatus(*alone, absl::DataLossError("lost"), 0),
              StatusIs(absl::StatusCode::kDataLoss, ::testing::Eq("lost")));
  const at::Tensor tensor = at::ones({2});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor same,
                                 BroadcastTensor(*alone, tensor, 0));
  EXPECT_TRUE(same.is_same(tensor));
}

}  // namespace
}  // namespace influence
