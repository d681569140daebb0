// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/process_memory.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <vector>

#include "gtest/gtest.h"

namespace influence {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

// Writes to `bytes` bytes and lets go of them.
void Touch(int64_t bytes) {
  std::vector<char> memory(bytes);
  std::memset(memory.data(), 1, memory.size());
  volatile char last = memory.back();
  EXPECT_EQ(last, 1);
}

TEST(ProcessMemoryTest, ThePeakIsWhatWasTouchedAndNotWhatIsLeft) {
  const std::optional<int64_t> none = MeasurePeakBytes([] {});
  if (!none.has_value()) {
    GTEST_SKIP() << "the system does not let a process reset its peak";
  }
  EXPECT_LT(*none, 4 * kMiB);
  for (const int64_t size : {64 * kMiB, 16 * kMiB}) {
    const std::optional<int64_t> peak = MeasurePeakBytes([&] { Touch(size); });
    ASSERT_TRUE(peak.has_value());
    EXPECT_GT(*peak, size - kMiB);
    EXPECT_LT(*peak, size + 4 * kMiB);
  }
}

TEST(ProcessMemoryTest, FreedMemoryDoesNotHideWhatIsNeeded) {
  // In pieces that the C library keeps.
  const auto pieces = [] {
    std::vector<std::vector<char>> all;
    for (int i = 0; i < 512; ++i) all.emplace_back(64 << 10, 'x');
  };
  pieces();
  const std::optional<int64_t> peak = MeasurePeakBytes(pieces);
  if (!peak.has_value()) GTEST_SKIP() << "not measured here";
  EXPECT_GT(*peak, 24 * kMiB);
}

TEST(ProcessMemoryTest, TheProcessHasMemory) {
  const std::optional<int64_t> now = ResidentBytes();
  const std::optional<int64_t> peak = PeakResidentBytes();
  if (!now.has_value()) GTEST_SKIP() << "not Linux";
  EXPECT_GT(*now, 0);
  EXPECT_GE(*peak, *now / 2);
}

}  // namespace
}  // namespace influence
