// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Makes the C library keep the memory that is freed.
//
// LibTorch allocates each intermediate tensor anew. By default glibc maps a
// large block when it is allocated and unmaps it when it is freed, so that the
// kernel clears every page of every layer's output again for every batch: a
// third of the time of a small transformer. Threads other than the first have
// arenas of their own, of which whole heaps come and go: a fifth of the time of
// a small convolution network in two threads.
#ifndef INFLUENCE_BASE_FREED_MEMORY_H_
#define INFLUENCE_BASE_FREED_MEMORY_H_

namespace influence {

// From here on the process reuses freed blocks of up to 32 MiB, whichever
// thread has freed them, and returns nothing of its heap to the system. For
// programs, at the start of main(), before there are threads: libraries have no
// business with it. Does nothing without glibc.
void KeepFreedMemory();

}  // namespace influence

#endif  // INFLUENCE_BASE_FREED_MEMORY_H_
