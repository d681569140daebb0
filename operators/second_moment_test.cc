// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/second_moment.h"

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/einsum.h"
#include "ATen/ops/ones.h"
#include "absl/status/status.h"
#include "base/communicator.h"
#include "base/thread_team.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "operators/shared_eigendecomposition.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

constexpr int64_t kWidth = 80;  // With the appended 1.
constexpr int64_t kGroups = 2;
constexpr double kTolerance = 1e-12;

// Of `count` samples with two positions each.
at::Tensor Samples(int64_t count, uint64_t seed) {
  return SeededNormal({count, kGroups, 2, kWidth - 1}, at::kDouble, seed);
}

at::Tensor Expected(const at::Tensor& x) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape[3] = 1;
  const at::Tensor full = at::cat({x, at::ones(shape, at::kDouble)}, 3);
  return at::einsum("nhti,nhtj->hij", {full, full});
}

SecondMoment Empty() {
  return SecondMoment(kGroups, kWidth, /*append_one=*/true, at::kDouble);
}

// The matrices that `matrix` stands for.
at::Tensor Dense(const SymmetricMatrix& matrix) {
  if (matrix.values.defined()) return matrix.values;
  return matrix.rows.transpose(1, 2).matmul(matrix.rows).mul(matrix.scale);
}

TEST(SecondMomentTest, KeepsFewRowsAndSumsMany) {
  EXPECT_EQ(SecondMoment::MostRows(kWidth), 60);
  EXPECT_EQ(SecondMoment::MostRows(20), 0);
  // Up to the limit, one more, and from the first batch on.
  for (const auto& [sizes, is_dense] :
       {std::pair<std::vector<int64_t>, bool>{{10, 20}, false},
        {{10, 20, 1}, true},
        {{31, 2}, true},
        {{}, false}}) {
    SecondMoment moment = Empty();
    std::vector<at::Tensor> all = {Samples(0, 1)};
    uint64_t seed = 5;
    for (const int64_t size : sizes) {
      all.push_back(Samples(size, ++seed));
      moment.Add(all.back());
    }
    SCOPED_TRACE(testing::PrintToString(sizes));
    EXPECT_EQ(moment.State().size(1) == kWidth, is_dense);
    const SymmetricMatrix matrix = moment.TakeMatrix("m", 0.25);
    EXPECT_EQ(matrix.values.defined(), is_dense);
    EXPECT_THAT(Dense(matrix),
                TensorNear(Expected(at::cat(all)).mul(0.25), kTolerance));
  }
}

TEST(SecondMomentTest, SumsThoseOfOthers) {
  // Rows with rows, few and too many, and rows with matrices, either way.
  for (const auto& [first, second] : std::vector<std::pair<int64_t, int64_t>>{
           {10, 15}, {20, 25}, {10, 40}, {40, 10}, {40, 40}, {0, 5}}) {
    SCOPED_TRACE(testing::Message() << first << " and " << second);
    const at::Tensor x = Samples(first, 1), y = Samples(second, 2);
    SecondMoment moment = Empty(), other = Empty();
    moment.Add(x);
    other.Add(y);
    moment.Add(other);
    EXPECT_EQ(moment.State().size(1) == kWidth, 2 * (first + second) > 60);
    EXPECT_THAT(Dense(moment.TakeMatrix("m", 1)),
                TensorNear(Expected(at::cat({x, y})), kTolerance));
  }
}

TEST(SecondMomentTest, RanksAgreeOnTheSum) {
  for (const std::vector<int64_t>& sizes :
       {std::vector<int64_t>{5, 0, 7}, {10, 15, 10}, {40, 0, 1}}) {
    SCOPED_TRACE(testing::PrintToString(sizes));
    std::vector<at::Tensor> parts;
    for (const int64_t size : sizes) {
      parts.push_back(Samples(size, 3 + parts.size()));
    }
    const at::Tensor all = at::cat(parts);
    std::vector<at::Tensor> states(sizes.size());
    INFLUENCE_EXPECT_OK(FirstError(
        RunThreadTeam(static_cast<int>(sizes.size()),
                      [&](Communicator& communicator) -> absl::Status {
                        SecondMoment moment = Empty();
                        moment.Add(parts[communicator.rank()]);
                        const absl::Status status = moment.Reduce(communicator);
                        states[communicator.rank()] = moment.State().clone();
                        EXPECT_THAT(Dense(moment.TakeMatrix("m", 1)),
                                    TensorNear(Expected(all), kTolerance));
                        return status;
                      })));
    for (const at::Tensor& state : states) {
      EXPECT_EQ(state.size(1) == kWidth, 2 * all.size(0) > 60);
      EXPECT_TRUE(state.equal(states[0]));
    }
  }
}

TEST(SecondMomentTest, ItsStateIsAllThereIs) {
  for (const int64_t size : {0, 10, 40}) {
    const at::Tensor x = Samples(size, 1), more = Samples(5, 2);
    SecondMoment moment = Empty(), restored = Empty();
    moment.Add(x);
    const at::Tensor state = moment.State();
    ASSERT_TRUE(restored.SetState(state));
    EXPECT_TRUE(restored.State().equal(state));
    restored.Add(more);
    EXPECT_THAT(Dense(restored.TakeMatrix("m", 1)),
                TensorNear(Expected(at::cat({x, more})), kTolerance));
    EXPECT_FALSE(restored.SetState(state.narrow(2, 0, kWidth - 1)));
    EXPECT_FALSE(restored.SetState(state.narrow(0, 0, 1)));
    EXPECT_FALSE(restored.SetState(state.to(at::kFloat)));
  }
  EXPECT_FALSE(
      Empty().SetState(SeededNormal({kGroups, 61, kWidth}, at::kDouble, 1)));
}

}  // namespace
}  // namespace influence
