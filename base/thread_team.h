// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Threads of one process as the ranks of a Communicator: for work that is
// written for many processes and runs in one, and for tests of such work.
//
//   const std::vector<absl::Status> statuses = RunThreadTeam(
//       2, [&](Communicator& communicator) -> absl::Status { ... });
#ifndef INFLUENCE_BASE_THREAD_TEAM_H_
#define INFLUENCE_BASE_THREAD_TEAM_H_

#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "base/communicator.h"

namespace influence {

// Calls `work` in `size` >= 1 threads at the same time, rank 0 in the calling
// one and the others in those of the worker pool, each with LibTorch on one
// thread and a communicator that knows the others, and returns what they
// return, by rank. One that fails or throws (kInternal) aborts the others: what
// they wait for fails with kAborted. Sums are added in the order of the ranks,
// so they are the same every time.
std::vector<absl::Status> RunThreadTeam(
    int size, const std::function<absl::Status(Communicator&)>& work);

// The first error that is not an echo (kAborted) of another, if there is one.
absl::Status FirstError(const std::vector<absl::Status>& statuses);

}  // namespace influence

#endif  // INFLUENCE_BASE_THREAD_TEAM_H_
