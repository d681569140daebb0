// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/process_memory.h"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace influence {
namespace {

// The line "<name>:   123 kB" of /proc/self/status.
std::optional<int64_t> StatusBytes(absl::string_view name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    absl::string_view rest = line;
    if (!absl::ConsumePrefix(&rest, name) || !absl::ConsumePrefix(&rest, ":") ||
        !absl::ConsumeSuffix(&rest, " kB")) {
      continue;
    }
    int64_t kilobytes = 0;
    if (absl::SimpleAtoi(rest, &kilobytes)) return kilobytes * 1024;
  }
  return std::nullopt;
}

}  // namespace

std::optional<int64_t> ResidentBytes() { return StatusBytes("VmRSS"); }

std::optional<int64_t> PeakResidentBytes() { return StatusBytes("VmHWM"); }

bool ResetPeakResidentBytes() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return file.good();
}

void ReleaseFreedMemory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

std::optional<int64_t> MeasurePeakBytes(absl::FunctionRef<void()> work) {
  ReleaseFreedMemory();
  const bool reset = ResetPeakResidentBytes();
  const std::optional<int64_t> before = ResidentBytes();
  work();
  const std::optional<int64_t> peak = PeakResidentBytes();
  if (!reset || !before.has_value() || !peak.has_value()) return std::nullopt;
  return std::max<int64_t>(*peak - *before, 0);
}

}  // namespace influence
