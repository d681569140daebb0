// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// How many processors a process may really use, which in a container is fewer
// than the machine has.
#ifndef INFLUENCE_BASE_AVAILABLE_PROCESSORS_H_
#define INFLUENCE_BASE_AVAILABLE_PROCESSORS_H_

#include <optional>
#include <string>

namespace influence {

// The processors that this thread and those it starts may run on, or as many as
// the process's quota of processor time is worth (rounded to the nearest) where
// that is less; at least 1. Of `num_processes` that share the machine and the
// quota, the part of each. Reads a few small files the first time, and the
// affinity each time.
int AvailableProcessors(int num_processes = 1);

// The quota of the control group, in processors: the least of those of the
// group and the groups around it. nullopt where there is none. Version 2
// (cpu.max) and version 1 (cpu.cfs_quota_us, cpu.cfs_period_us) are known.
//
// `groups` is the file that tells a process its groups (/proc/self/cgroup),
// `root` the folder where they are mounted (/sys/fs/cgroup). A container often
// sees its own group at the root and not at the path that it is told.
std::optional<double> ProcessorQuota(const std::string& groups,
                                     const std::string& root);

}  // namespace influence

#endif  // INFLUENCE_BASE_AVAILABLE_PROCESSORS_H_
