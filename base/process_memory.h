// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// How much memory this process has, and had at most while something ran: what a
// plan is made from, and checked against. Bytes in memory ("resident"), as
// `ps` and the limits of schedulers count them. Linux only: elsewhere nothing.
#ifndef INFLUENCE_BASE_PROCESS_MEMORY_H_
#define INFLUENCE_BASE_PROCESS_MEMORY_H_

#include <cstdint>
#include <optional>

#include "absl/functional/function_ref.h"

namespace influence {

// Of this process, now. Includes pages of mapped files that were touched.
std::optional<int64_t> ResidentBytes();

// The most there was since the start, or since ResetPeakResidentBytes().
std::optional<int64_t> PeakResidentBytes();

// False where the system does not allow it.
bool ResetPeakResidentBytes();

// Gives memory that was freed back to the system, as far as the C library can.
void ReleaseFreedMemory();

// Runs `work` and returns by how much the memory rose above what it was before,
// at most; >= 0. Memory that was freed before is given back first, so that it
// does not hide what is needed. Nothing where it cannot be measured; `work` is
// run in any case. Other threads' memory counts too.
std::optional<int64_t> MeasurePeakBytes(absl::FunctionRef<void()> work);

}  // namespace influence

#endif  // INFLUENCE_BASE_PROCESS_MEMORY_H_
