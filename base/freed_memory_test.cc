// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/freed_memory.h"

#include <cstddef>
#include <cstdlib>
#include <thread>

#include "gtest/gtest.h"

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#include <malloc.h>
#include <unistd.h>

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

// There is one arena: what a thread takes is of the heap of the first.
TEST(KeepFreedMemoryTest, ThreadsShareTheHeap) {
  KeepFreedMemory();
  const struct mallinfo2 before = mallinfo2();
  constexpr size_t kBytes = 16 << 20;
  void* block = nullptr;
  std::thread([&] { block = std::malloc(kBytes); }).join();
  ASSERT_NE(block, nullptr);
  EXPECT_GE(mallinfo2().uordblks, before.uordblks + kBytes);
  EXPECT_EQ(mallinfo2().hblkhd, before.hblkhd);
  const char* const top = static_cast<char*>(sbrk(0));
  EXPECT_LT(static_cast<char*>(block), top);
  EXPECT_GT(static_cast<char*>(block) + mallinfo2().arena, top);
  std::free(block);
}

}  // namespace
}  // namespace influence

#else

TEST(KeepFreedMemoryTest, DoesNothingElsewhere) {
  influence::KeepFreedMemory();
}

#endif
