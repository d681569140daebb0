// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/counter_based_random.h"

#include <cstdint>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

using ::testing::ElementsAre;

// The known answers published with the authors' own implementation
// (Random123, kat_vectors, philox4x32 10).
TEST(CounterBasedRandomTest, PhiloxGivesTheKnownAnswers) {
  EXPECT_THAT(Philox4x32({0, 0, 0, 0}, {0, 0}),
              ElementsAre(0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u));
  EXPECT_THAT(Philox4x32({0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu},
                         {0xffffffffu, 0xffffffffu}),
              ElementsAre(0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu));
  EXPECT_THAT(Philox4x32({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u},
                         {0xa4093822u, 0x299f31d0u}),
              ElementsAre(0xd16cfe09u, 0x94fdcceb, 0x5001e420u, 0x24126ea1u));
}

TEST(CounterBasedRandomTest, UniformTakesTheUpper53BitsOfTwoWords) {
  // The first answer above: 0xe169c58d6627e8d5 >> 11, over 2^53.
  EXPECT_EQ(UniformAt(0, 0, 0),
            static_cast<double>(0xe169c58d6627e8d5u >> 11) * 0x1.0p-53);
}

TEST(CounterBasedRandomTest, UniformDependsOnEachArgumentAndEachHalfOfIt) {
  const double base = UniformAt(1, 2, 3);
  EXPECT_EQ(UniformAt(1, 2, 3), base);
  const uint64_t high = uint64_t{1} << 40;
  for (const double other :
       {UniformAt(2, 2, 3), UniformAt(1, 3, 3), UniformAt(1, 2, 4),
        UniformAt(1 + high, 2, 3), UniformAt(1, 2 + high, 3),
        UniformAt(1, 2, 3 + high), UniformAt(1, 3, 2)}) {
    EXPECT_NE(other, base);
  }
}

TEST(CounterBasedRandomTest, UniformHasTheMeanAndVarianceOfItsName) {
  // 20,000 draws: the bounds are five standard deviations of the mean (0.29 /
  // sqrt(n)) and of the mean square (0.30 / sqrt(n)); the seed is fixed.
  constexpr int kDraws = 20000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double u = UniformAt(7, static_cast<uint64_t>(i / 100),
                               static_cast<uint64_t>(i % 100));
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
    squares += u * u;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 0.0103);
  EXPECT_NEAR(squares / kDraws, 1.0 / 3, 0.0107);
}

}  // namespace
}  // namespace influence
