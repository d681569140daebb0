// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/rounding_unit.h"

#include <cmath>

#include "ATen/core/Tensor.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

TEST(RoundingUnitTest, IsTheDistanceFromOneToTheNextNumber) {
  EXPECT_EQ(RoundingUnit(at::kDouble), std::nextafter(1.0, 2.0) - 1);
  EXPECT_EQ(RoundingUnit(at::kFloat),
            static_cast<double>(std::nextafter(1.0F, 2.0F)) - 1);
}

}  // namespace
}  // namespace influence
