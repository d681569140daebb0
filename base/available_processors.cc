// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/available_processors.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace influence {
namespace {

// The words of a small file; none if there is no such file.
std::vector<std::string> WordsOf(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> words;
  for (std::string word; file >> word;) words.push_back(word);
  return words;
}

// "max" and -1 are no quota.
std::optional<double> Ratio(const std::string& quota,
                            const std::string& period) {
  double quota_us = 0;
  double period_us = 0;
  if (!absl::SimpleAtod(quota, &quota_us) ||
      !absl::SimpleAtod(period, &period_us) || quota_us <= 0 ||
      period_us <= 0) {
    return std::nullopt;
  }
  return quota_us / period_us;
}

// Of one group, in whichever version.
std::optional<double> QuotaOf(const std::string& folder) {
  const std::vector<std::string> words =
      WordsOf(absl::StrCat(folder, "/cpu.max"));
  if (words.size() == 2) return Ratio(words[0], words[1]);
  const std::vector<std::string> quota =
      WordsOf(absl::StrCat(folder, "/cpu.cfs_quota_us"));
  const std::vector<std::string> period =
      WordsOf(absl::StrCat(folder, "/cpu.cfs_period_us"));
  if (quota.size() != 1 || period.size() != 1) return std::nullopt;
  return Ratio(quota[0], period[0]);
}

void TakeLess(std::optional<double> quota, std::optional<double>& least) {
  if (quota.has_value() && (!least.has_value() || *quota < *least)) {
    least = quota;
  }
}

}  // namespace

std::optional<double> ProcessorQuota(const std::string& groups,
                                     const std::string& root) {
  std::optional<double> least;
  std::ifstream lines(groups);
  for (std::string line; std::getline(lines, line);) {
    // Hierarchy, controllers separated by commas (none: version 2), path.
    const std::vector<std::string> fields =
        absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    std::vector<std::string> mounts = {root, absl::StrCat(root, "/unified")};
    if (!fields[1].empty()) {
      const std::vector<absl::string_view> controllers =
          absl::StrSplit(fields[1], ',');
      if (std::find(controllers.begin(), controllers.end(), "cpu") ==
          controllers.end()) {
        continue;
      }
      mounts = {absl::StrCat(root, "/cpu"), absl::StrCat(root, "/", fields[1])};
    }
    for (const std::string& mount : mounts) {
      std::string group = fields[2];
      while (true) {
        TakeLess(QuotaOf(absl::StrCat(mount, group)), least);
        const std::string::size_type last = group.rfind('/');
        if (group.empty() || last == std::string::npos) break;
        group.resize(last);
      }
    }
  }
  return least;
}

int AvailableProcessors(int num_processes) {
  static const std::optional<double> quota =
      ProcessorQuota("/proc/self/cgroup", "/sys/fs/cgroup");
  cpu_set_t processors;
  auto all = static_cast<int>(std::thread::hardware_concurrency());
  // More processors than a cpu_set_t has room for make the call fail.
  const int allowed = sched_getaffinity(0, sizeof(processors), &processors) == 0
                          ? CPU_COUNT(&processors)
                          : all;
  all = std::max(all, allowed);
  if (quota.has_value()) {
    all = std::min(all, static_cast<int>(std::lround(std::min(*quota, 1e6))));
  }
  return std::max(1, std::min(allowed, all / num_processes));
}

}  // namespace influence
