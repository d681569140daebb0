// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The job that this process is a rank of: `mpirun -n 4 influence ...` starts
// four processes with the same arguments, which share the work. Rank 0 alone
// prints. Without mpirun the job has one rank.
#ifndef INFLUENCE_CLI_JOB_H_
#define INFLUENCE_CLI_JOB_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/communicator.h"

namespace influence {

// To be called by main(), once, before anything else of this header and after
// HandleInterruptions(). Errors of JoinProcessGroup().
absl::Status JoinJob();

// Waits for the other ranks; the job has one rank from then on.
void LeaveJob();

// Where this rank has failed: prints `line` and ends all ranks with
// `exit_code`, at once. What every rank finds (a missing file) is printed by
// one: the others give rank 0 a moment to be the first. Returns where there is
// only this rank.
void EndJob(absl::string_view line, int exit_code);

// Never null.
std::shared_ptr<Communicator> Job();

// This rank prints.
bool IsFirstRank();

// The threads that a rank has where nobody says how many: the processors that
// it may use (available_processors.h), shared out among the ranks of the
// machine, at least 1; LibTorch's choice in a job of one rank, if that is less.
int ThreadsPerRank();

}  // namespace influence

#endif  // INFLUENCE_CLI_JOB_H_
