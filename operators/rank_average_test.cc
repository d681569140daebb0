// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/rank_average.h"

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/linalg_solve.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "base/thread_team.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "operators/conjugate_gradient.h"
#include "operators/dense_operator.h"
#include "operators/operator.h"
#include "operators/random_matrix.h"
#include "operators/shifted_operator.h"
#include "operators/solve_report.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kSize = 6;
constexpr int64_t kSamples = 7;
constexpr double kRegularization = 0.1;

// What a rank of a team has: it must not free it.
std::shared_ptr<Communicator> Borrow(Communicator& communicator) {
  return {std::shared_ptr<void>(), &communicator};
}

class RankAverageTest : public ::testing::Test {
 protected:
  // (1/n) sum g g^T over samples [begin, end).
  at::Tensor MeanOf(int64_t begin, int64_t end) const {
    const at::Tensor part = samples_.narrow(0, begin, end - begin);
    return part.t().mm(part).div(static_cast<double>(end - begin));
  }

  absl::StatusOr<std::shared_ptr<const RankAverage>> Make(
      Communicator& communicator) const {
    const RankShare share = ShareOf(kSamples, &communicator);
    RankAverage::Part part;
    part.num_samples = share.end - share.begin;
    if (part.num_samples > 0) {
      INFLUENCE_ASSIGN_OR_RETURN(
          part.op, DenseOperator::Create(MeanOf(share.begin, share.end)));
    }
    return RankAverage::Create(Borrow(communicator), kSize, {part});
  }

  const at::Tensor samples_ = RandomNormalMatrix(kSamples, kSize, /*seed=*/1);
  const at::Tensor right_ = RandomNormalMatrix(3, kSize, /*seed=*/2);
};

// Also where some ranks have no samples.
TEST_F(RankAverageTest, IsTheMeanOverAllSamples) {
  const at::Tensor expected = right_.mm(MeanOf(0, kSamples));
  for (const int size : {1, 2, 3, 9}) {
    SCOPED_TRACE(size);
    INFLUENCE_ASSERT_OK(FirstError(
        RunThreadTeam(size, [&](Communicator& communicator) -> absl::Status {
          INFLUENCE_ASSIGN_OR_RETURN(const auto average, Make(communicator));
          EXPECT_EQ(average->is_shared(), size > 1);
          EXPECT_EQ(average->op(0)->input_size(), kSize);
          at::Tensor product;
          INFLUENCE_RETURN_IF_ERROR(average->Lead([&]() -> absl::Status {
            INFLUENCE_ASSIGN_OR_RETURN(product, average->op(0)->Apply(right_));
            return absl::OkStatus();
          }));
          EXPECT_EQ(product.defined(), size == 1 || communicator.rank() == 0);
          if (product.defined()) {
            EXPECT_THAT(product, TensorNear(expected, 1e-14));
          }
          return absl::OkStatus();
        })));
  }
}

// In float32, and what a vector gives.
TEST_F(RankAverageTest, KeepsShapeAndDtype) {
  const at::Tensor vector = right_[0].to(at::kFloat);
  INFLUENCE_ASSERT_OK(FirstError(
      RunThreadTeam(2, [&](Communicator& communicator) -> absl::Status {
        INFLUENCE_ASSIGN_OR_RETURN(const auto average, Make(communicator));
        return average->Lead([&]() -> absl::Status {
          INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor product,
                                     average->op(0)->Apply(vector));
          EXPECT_EQ(product.scalar_type(), at::kFloat);
          EXPECT_EQ(product.sizes(), vector.sizes());
          return absl::OkStatus();
        });
      })));
}

// Every rank has the solution of the first, bit for bit, though each asks for
// another one; so the first alone decides how many iterations there are.
TEST_F(RankAverageTest, SolvesOnAllRanks) {
  const at::Tensor a =
      MeanOf(0, kSamples).add(at::eye(kSize, at::kDouble), kRegularization);
  const at::Tensor expected = at::linalg_solve(a, right_.t()).t();
  std::vector<at::Tensor> solved(3);
  std::vector<size_t> num_reports(3);
  INFLUENCE_ASSERT_OK(FirstError(
      RunThreadTeam(3, [&](Communicator& communicator) -> absl::Status {
        INFLUENCE_ASSIGN_OR_RETURN(const auto average, Make(communicator));
        INFLUENCE_ASSIGN_OR_RETURN(
            std::shared_ptr<const Operator> shifted,
            ShiftedOperator::Create(average->op(0), kRegularization));
        ConjugateGradientOptions options;
        options.relative_tolerance = 1e-12;
        INFLUENCE_ASSIGN_OR_RETURN(
            std::shared_ptr<const Operator> cg,
            ConjugateGradient::Create(std::move(shifted), options));
        const std::shared_ptr<const Operator> solve =
            RankAverage::Led(average, std::move(cg));
        const int rank = communicator.rank();
        std::vector<SolveReport> reports;
        for (int repetition = 0; repetition < 2; ++repetition) {
          INFLUENCE_ASSIGN_OR_RETURN(
              solved[rank],
              solve->ApplyWithReports(right_.mul(1 + rank), &reports));
        }
        num_reports[rank] = reports.size();
        return absl::OkStatus();
      })));
  EXPECT_THAT(solved[0], TensorNear(expected, 1e-10));
  EXPECT_TRUE(at::equal(solved[1], solved[0]));
  EXPECT_TRUE(at::equal(solved[2], solved[0]));
  EXPECT_THAT(num_reports, ::testing::ElementsAre(3, 0, 0));
}

TEST_F(RankAverageTest, AllReturnWhatTheWorkFailsWith) {
  for (const absl::Status& status :
       RunThreadTeam(2, [&](Communicator& communicator) -> absl::Status {
         INFLUENCE_ASSIGN_OR_RETURN(const auto average, Make(communicator));
         const absl::Status failed = average->Lead(
             [] { return absl::OutOfRangeError("no such thing"); });
         EXPECT_THAT(failed, StatusIs(absl::StatusCode::kOutOfRange,
                                      ::testing::Eq("no such thing")));
         // And can go on.
         return average->Lead(
             [&] { return average->op(0)->Apply(right_).status(); });
       })) {
    INFLUENCE_EXPECT_OK(status);
  }
}

// A part that fails, on the first rank or on another, ends the team.
TEST_F(RankAverageTest, AFailedPartIsAnError) {
  class Broken : public Operator {
   public:
    int64_t input_size() const override { return kSize; }

   protected:
    absl::StatusOr<at::Tensor> DoApply(const at::Tensor&) const override {
      return absl::DataLossError("sample 3 is lost");
    }
  };
  for (const int broken : {0, 1}) {
    SCOPED_TRACE(broken);
    EXPECT_THAT(
        FirstError(RunThreadTeam(
            2,
            [&](Communicator& communicator) -> absl::Status {
              RankAverage::Part part = {std::make_shared<const Broken>(), 1};
              if (communicator.rank() != broken) {
                INFLUENCE_ASSIGN_OR_RETURN(part.op,
                                           DenseOperator::Create(MeanOf(0, 1)));
              }
              INFLUENCE_ASSIGN_OR_RETURN(
                  const auto average,
                  RankAverage::Create(Borrow(communicator), kSize, {part}));
              return average->Lead(
                  [&] { return average->op(0)->Apply(right_).status(); });
            })),
        StatusIs(absl::StatusCode::kDataLoss, HasSubstr("sample 3")));
  }
}

TEST_F(RankAverageTest, RefusesPartsThatDoNotFit) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto op,
                                 DenseOperator::Create(MeanOf(0, 3)));
  EXPECT_THAT(RankAverage::Create(nullptr, kSize + 1, {{op, 3}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("of size 6, expected 7")));
  EXPECT_THAT(RankAverage::Create(nullptr, kSize, {{op, 0}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found 0 samples and an operator")));
  EXPECT_THAT(RankAverage::Create(nullptr, kSize, {{nullptr, 0}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found no samples on any rank")));
}

// The operators of a process alone are what it was given.
TEST_F(RankAverageTest, IsNothingForOneProcess) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const Operator> op,
                                 DenseOperator::Create(MeanOf(0, 3)));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto average, RankAverage::Create(nullptr, kSize, {{op, 3}}));
  EXPECT_FALSE(average->is_shared());
  EXPECT_EQ(average->op(0), op);
  EXPECT_EQ(RankAverage::Led(average, op), op);
}

// Products exist while the first rank leads.
TEST_F(RankAverageTest, RefusesProductsOutsideOfLead) {
  INFLUENCE_ASSERT_OK(FirstError(
      RunThreadTeam(2, [&](Communicator& communicator) -> absl::Status {
        INFLUENCE_ASSIGN_OR_RETURN(const auto average, Make(communicator));
        EXPECT_THAT(average->op(0)->Apply(right_),
                    StatusIs(absl::StatusCode::kFailedPrecondition,
                             HasSubstr("Lead()")));
        return absl::OkStatus();
      })));
}

}  // namespace
}  // namespace influence
