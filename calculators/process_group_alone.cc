// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// JoinProcessGroup() without MPI.
#include <cstdlib>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/communicator.h"
#include "calculators/process_group.h"

namespace influence {

absl::StatusOr<std::unique_ptr<Communicator>> JoinProcessGroup() {
  const char* const found = std::getenv("OMPI_COMM_WORLD_SIZE");
  int size = 1;
  if (found != nullptr && absl::SimpleAtoi(found, &size) && size > 1) {
    return absl::UnimplementedError(absl::StrCat(
        "mpirun: found ", size,
        " processes, expected one of a program that was built with "
        "--config=no_mpi"));
  }
  return SingleProcess();
}

}  // namespace influence
