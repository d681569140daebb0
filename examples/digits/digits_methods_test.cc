// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "examples/digits/digits_methods.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "examples/digits/digits_data.h"
#include "examples/digits/digits_network.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// `count` images: a stripe by class, and a pixel that varies with n.
DigitImages StripedImages(int64_t first, int64_t count) {
  at::Tensor x = at::zeros({count, kDigitPixels}, at::kDouble);
  at::Tensor y = at::zeros({count}, at::kLong);
  for (int64_t n = 0; n < count; ++n) {
    const int64_t label = (first + n) % kNumDigits;
    y[n] = label;
    x[n].slice(0, 6 * label, 6 * label + 6).fill_(1);
    x[n][(7 * (first + n)) % kDigitPixels].fill_(0.5);
  }
  return {{x}, y};
}

TEST(DigitsMethodsTest, MethodsAreComparedWithTheExactOne) {
  DigitImages train = StripedImages(0, 40);
  std::vector<bool> flipped(40, false);
  flipped[3] = true;
  train.y[3] = (train.y[3].item<int64_t>() + 1) % kNumDigits;
  const DigitImages test = StripedImages(40, 10);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const TrainedNetwork network,
      TrainNetwork(train, {.weight_decay = 0.05, .max_iterations = 30}));
  DigitsComparisonOptions options;
  options.regularization = 0.05;
  // Those that take no long solves.
  options.names = {"direct", "nystroem", "ekfac", "identity"};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::vector<MethodComparison> comparison,
      CompareMethods(network.model, train, test, flipped, options));
  const std::vector<std::string>& names = options.names;
  ASSERT_EQ(comparison.size(), names.size());
  for (size_t i = 0; i < names.size(); ++i) {
    SCOPED_TRACE(names[i]);
    EXPECT_EQ(comparison[i].name, names[i]);
    EXPECT_GT(comparison[i].agreement, 0.3);
    EXPECT_LE(comparison[i].agreement, 1 + 1e-12);
    EXPECT_GT(comparison[i].score_seconds, 0);
    EXPECT_THAT(ComparisonText(comparison),
                HasSubstr("| `" + names[i] + "` |"));
  }
  EXPECT_EQ(comparison[0].name, "direct");
  EXPECT_NEAR(comparison[0].agreement, 1, 1e-12);
  EXPECT_EQ(comparison[0].found_by_self, 1);  // One wrong label, found.
}

TEST(DigitsMethodsTest, NamesAreKnown) {
  for (const std::string& name : DigitsMethodNames()) {
    EXPECT_FALSE(DigitsMethodSettings(name).empty()) << name;
    EXPECT_THAT(DigitsMethodArguments(name, 0.011),
                HasSubstr("--method " + name));
  }
  EXPECT_EQ(DigitsMethodArguments("arnoldi", 0.011),
            "--method arnoldi --rank 100 --regularization 0.011");
  EXPECT_EQ(DigitsMethodArguments("identity", 0.011), "--method identity");
  DigitsComparisonOptions options;
  options.names = {"identity"};
  EXPECT_THAT(CompareMethods(nullptr, {}, {}, {}, options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("names"), HasSubstr("direct"))));
}

TEST(DigitsMethodsTest, RankCorrelationLooksAtTheOrderAlone) {
  const at::Tensor a = at::tensor({1.0, 2.0, 3.0, 10.0});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const double same, RankCorrelation(a, at::tensor({-5.0, 0.0, 0.1, 0.2})));
  EXPECT_NEAR(same, 1, 1e-12);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const double reversed,
                                 RankCorrelation(a, a.neg()));
  EXPECT_NEAR(reversed, -1, 1e-12);
  // 1 - 6 sum d^2 / (n (n^2 - 1)) with two neighbours exchanged.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const double swapped,
      RankCorrelation(a, at::tensor({2.0, 1.0, 3.0, 10.0})));
  EXPECT_NEAR(swapped, 1 - 6 * 2 / 60.0, 1e-12);
}

}  // namespace
}  // namespace influence
