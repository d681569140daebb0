// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/freed_memory.h"

#include <climits>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace influence {

void KeepFreedMemory() {
#ifdef __GLIBC__
  // 32 MiB is the largest threshold that glibc accepts on 64-bit systems.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
  mallopt(M_ARENA_MAX, 1);
#endif
}

}  // namespace influence
