// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/averaging.h"

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/full.h"
#include "ATen/ops/ones.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

absl::StatusOr<at::Tensor> Average(const Averaging& averaging,
                                   const std::vector<AveragingTerm>& terms) {
  size_t i = 0;
  return averaging.Average(
      [&]() -> absl::StatusOr<std::optional<AveragingTerm>> {
        if (i == terms.size()) return std::nullopt;
        return terms[i++];
      });
}

at::Tensor Filled(std::vector<int64_t> shape, double value) {
  return at::full(shape, value, at::kDouble);
}

TEST(PointAveragingTest, WeighsSamplesNotBatches) {
  // Batches of 4 and of 1: the mean over five samples is not that of two.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor mean,
      Average(PointAveraging(), {{Filled({3}, 1), 4}, {Filled({3}, 11), 1}}));
  EXPECT_THAT(mean, TensorNear(Filled({3}, 3), 1e-15));
}

TEST(PointAveragingTest, WeighsSamplesNotTheRowsOfTheResult) {
  // Results of K = 3 right-hand sides have three rows whatever the batch.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor mean, Average(PointAveraging(), {{Filled({3, 2}, 1), 4},
                                                  {Filled({3, 2}, 11), 1}}));
  EXPECT_THAT(mean, TensorNear(Filled({3, 2}, 3), 1e-15));
}

TEST(PointAveragingTest, TakesTheWeightFromADimensionWhenAsked) {
  const PointAveraging averaging(-1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(double weight,
                                 averaging.Weight(Filled({3, 7}, 1), 2));
  EXPECT_EQ(weight, 7);
  EXPECT_THAT(
      PointAveraging(2).Weight(Filled({3, 7}, 1), 2),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("batch_dim: found 2"), HasSubstr("[3, 7]"))));
}

TEST(PointAveragingTest, RefusesATermOfNoSamples) {
  EXPECT_THAT(Average(PointAveraging(), {{Filled({3}, 1), 0}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("num_samples: found 0")));
}

TEST(ChunkAveragingTest, DividesByTheNumberOfChunks) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor mean,
      Average(ChunkAveraging(), {{Filled({3}, 1), 4}, {Filled({3}, 11), 1}}));
  EXPECT_THAT(mean, TensorNear(Filled({3}, 6), 1e-15));
}

TEST(AveragingTest, SumsInFloat64AndAnswersInTheTermsDtype) {
  // 1 + 2^-24 is 1 in float32, so that a float32 sum would stay at 1.
  std::vector<AveragingTerm> terms = {{at::ones({1}, at::kFloat), 1}};
  for (int i = 0; i < 1023; ++i) {
    terms.push_back({at::full({1}, 0x1.0p-24, at::kFloat), 1});
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor mean,
                                 Average(ChunkAveraging(), terms));
  EXPECT_EQ(mean.scalar_type(), at::kFloat);
  EXPECT_FLOAT_EQ(mean.item<float>() * 1024, 1 + 1023 * 0x1.0p-24);
}

TEST(AveragingTest, DoesNotChangeItsTerms) {
  const at::Tensor first = Filled({2}, 1);
  INFLUENCE_EXPECT_OK(
      Average(ChunkAveraging(), {{first, 1}, {Filled({2}, 3), 1}}));
  EXPECT_THAT(first, TensorNear(Filled({2}, 1), 0));
}

TEST(AveragingTest, RefusesNoTermsOtherShapesAndIntegers) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(Average(PointAveraging(), {}),
              StatusIs(invalid, HasSubstr("no terms")));
  EXPECT_THAT(
      Average(PointAveraging(), {{Filled({3}, 1), 1}, {Filled({1}, 1), 1}}),
      StatusIs(invalid, AllOf(HasSubstr("[1]"), HasSubstr("[3]"))));
  EXPECT_THAT(Average(PointAveraging(), {{at::ones({3}, at::kLong), 1}}),
              StatusIs(invalid, HasSubstr("int64")));
}

TEST(AveragingTest, ReturnsTheGeneratorsError) {
  int calls = 0;
  EXPECT_THAT(PointAveraging().Average(
                  [&]() -> absl::StatusOr<std::optional<AveragingTerm>> {
                    if (++calls == 1) return AveragingTerm{Filled({1}, 1), 1};
                    return absl::DataLossError("chunk 1 is damaged");
                  }),
              StatusIs(absl::StatusCode::kDataLoss, "chunk 1 is damaged"));
  EXPECT_EQ(calls, 2);
}

TEST(AveragingTest, AveragesDictionariesEntryByEntry) {
  const auto map = [](double a, double b) {
    TensorMap m;
    EXPECT_THAT(m.Insert("a", Filled({2}, a)), IsOk());
    EXPECT_THAT(m.Insert("b", Filled({1, 3}, b)), IsOk());
    return m;
  };
  const std::vector<DictionaryAveragingTerm> terms = {{map(1, 5), 3},
                                                      {map(5, 1), 1}};
  size_t i = 0;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      TensorMap mean,
      PointAveraging().AverageDictionary(
          [&]() -> absl::StatusOr<std::optional<DictionaryAveragingTerm>> {
            if (i == terms.size()) return std::nullopt;
            return terms[i++];
          }));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor a, mean.Find("a"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor b, mean.Find("b"));
  EXPECT_THAT(a, TensorNear(Filled({2}, 2), 1e-15));
  EXPECT_THAT(b, TensorNear(Filled({1, 3}, 4), 1e-15));
}

TEST(AveragingTest, RefusesDictionariesOfOtherKeys) {
  TensorMap first;
  TensorMap second;
  INFLUENCE_ASSERT_OK(first.Insert("a", Filled({2}, 1)));
  INFLUENCE_ASSERT_OK(second.Insert("b", Filled({2}, 1)));
  int calls = 0;
  EXPECT_THAT(
      PointAveraging().AverageDictionary(
          [&]() -> absl::StatusOr<std::optional<DictionaryAveragingTerm>> {
            return DictionaryAveragingTerm{++calls == 1 ? first : second, 1};
          }),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("a")));
}

}  // namespace
}  // namespace influence
