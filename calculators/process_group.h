// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The processes that this one was started with: `mpirun -n 4 program` starts
// four, which are one task.
#ifndef INFLUENCE_CALCULATORS_PROCESS_GROUP_H_
#define INFLUENCE_CALCULATORS_PROCESS_GROUP_H_

#include <memory>

#include "absl/status/statusor.h"
#include "base/communicator.h"

namespace influence {

// All ranks of this process's MPI job, or SingleProcess() where it was not
// started as one (which the environment variables of mpirun, or of a scheduler
// that speaks PMIx, say). Call once in a process. The result must be destroyed
// before main() ends, which waits for the other ranks and ends MPI: a rank that
// has failed calls Abort() first. The members of the communicator and its
// counters may be called by any thread, one call at a time: they see to that
// themselves.
//
// Sums are exact for int64; of floating numbers they are those of
// MPI_Allreduce. A counter is one-sided: a FetchAdd() costs microseconds
// between processes of one machine; between machines without RDMA it is
// answered when rank 0 next calls MPI, which it does at each of its own tiles.
//
// A rank that dies by a signal ends the job: mpirun sees to that, as long as it
// is not told to enable recovery. kUnimplemented in a build without MPI
// (--config=no_mpi) in a job of more than one process; kInternal, with MPI's
// own message, if MPI fails.
absl::StatusOr<std::unique_ptr<Communicator>> JoinProcessGroup();

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_PROCESS_GROUP_H_
