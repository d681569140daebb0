// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/freed_memory.h"

#include <cstddef>
#include <cstdlib>

#include "gtest/gtest.h"

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#include <malloc.h>

namespace influence {
namespace {

TEST(KeepFreedMemoryTest, FreedBlocksStayInTheHeap) {
  KeepFreedMemory();
  constexpr size_t kBytes = 16 << 20;
  void* block = std::malloc(kBytes);
  ASSERT_NE(block, nullptr);
  const struct mallinfo2 used = mallinfo2();
  EXPECT_LT(used.hblkhd, kBytes);  // Not mapped by itself.
  std::free(block);
  const struct mallinfo2 freed = mallinfo2();
  EXPECT_EQ(freed.arena, used.arena);  // Not returned.
  EXPECT_GE(freed.fordblks, kBytes);   // But free.
}

}  // namespace
}  // namespace influence

#else

TEST(KeepFreedMemoryTest, DoesNothingElsewhere) {
  influence::KeepFreedMemory();
}

#endif
