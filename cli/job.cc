// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/job.h"

#include <algorithm>
#include <iostream>
#include <memory>

#include "ATen/Parallel.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/available_processors.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "calculators/process_group.h"
#include "cli/interruption.h"

namespace influence {
namespace {

constexpr absl::Duration kPrecedence = absl::Milliseconds(500);

// Never destroyed: LeaveJob() does what is to be done at the end.
std::shared_ptr<Communicator>& GlobalJob() {
  static auto* const job =
      new std::shared_ptr<Communicator>(SingleProcess().release());
  return *job;
}

}  // namespace

absl::Status JoinJob() {
  INFLUENCE_ASSIGN_OR_RETURN(GlobalJob(), JoinProcessGroup());
  if (GlobalJob()->size() > 1) ExpectTermination();
  return absl::OkStatus();
}

void LeaveJob() {
  GlobalJob() = std::shared_ptr<Communicator>(SingleProcess().release());
}

void EndJob(absl::string_view line, int exit_code) {
  Communicator& job = *GlobalJob();
  if (job.size() == 1) return;
  if (job.rank() != 0) absl::SleepFor(kPrecedence);
  std::cerr << line << std::endl;
  job.Abort(exit_code);
}

std::shared_ptr<Communicator> Job() { return GlobalJob(); }

bool IsFirstRank() { return GlobalJob()->rank() == 0; }

int ThreadsPerRank() {
  const auto ranks = static_cast<int>(GlobalJob()->RanksOnMachine().size());
  const int threads = AvailableProcessors(ranks);
  // LibTorch knows what its user has set, and counts no processor twice.
  return GlobalJob()->size() > 1 ? threads
                                 : std::min(threads, at::get_num_threads());
}

}  // namespace influence
