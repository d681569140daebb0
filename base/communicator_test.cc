// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/communicator.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/ones.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

TEST(CommunicatorTest, OneProcessIsItsOwnSum) {
  const std::unique_ptr<Communicator> alone = SingleProcess();
  EXPECT_EQ(alone->rank(), 0);
  EXPECT_EQ(alone->size(), 1);
  EXPECT_EQ(alone->RanksOnMachine(), std::vector<int>{0});
  const at::Tensor values = at::arange(4, at::kDouble);
  INFLUENCE_EXPECT_OK(alone->AllReduceSum(values));
  INFLUENCE_EXPECT_OK(alone->Broadcast(values, 0));
  EXPECT_TRUE(at::equal(values, at::arange(4, at::kDouble)));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string text,
                                 alone->BroadcastText("text", 0));
  EXPECT_EQ(text, "text");
  INFLUENCE_EXPECT_OK(alone->Barrier());
}

TEST(CommunicatorTest, CountsInOneProcess) {
  const std::unique_ptr<Communicator> alone = SingleProcess();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<SharedCounter> counter,
                                 alone->CreateCounter());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(int64_t before, counter->FetchAdd(3));
  EXPECT_EQ(before, 0);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(before, counter->FetchAdd(1));
  EXPECT_EQ(before, 3);
}

TEST(CommunicatorTest, OneProcessHasEverything) {
  const std::unique_ptr<Communicator> alone = SingleProcess();
  for (const RankShare& share :
       {ShareOf(7, alone.get()), ShareOf(7, nullptr)}) {
    EXPECT_EQ(share.begin, 0);
    EXPECT_EQ(share.end, 7);
  }
}

TEST(CommunicatorTest, AbortEndsTheProcess) {
  EXPECT_EXIT(SingleProcess()->Abort(3), ::testing::ExitedWithCode(3), "");
}

TEST(CommunicatorTest, RefusesTensorsThatCannotBeSent) {
  const std::unique_ptr<Communicator> alone = SingleProcess();
  EXPECT_THAT(
      alone->AllReduceSum(at::Tensor()),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("undefined")));
  EXPECT_THAT(alone->AllReduceSum(at::ones({2}, at::kHalf)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("message: found float16 [2]")));
  EXPECT_THAT(
      alone->Broadcast(at::ones({2, 3}, at::kFloat).t(), 0),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("contiguous")));
}

}  // namespace
}  // namespace influence
