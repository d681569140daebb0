// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/passive_waiting.h"

#include <alloca.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdlib>

#include "absl/strings/match.h"

namespace influence {
namespace {

// A sanitizer is not initialised yet when the code below runs.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

// NOLINTBEGIN(modernize-avoid-c-arrays): what execve() takes.
char g_passive[] = "OMP_WAIT_POLICY=passive";
constexpr char kPolicy[] = "OMP_WAIT_POLICY=";
constexpr char kSpinCount[] = "GOMP_SPINCOUNT=";
// NOLINTEND(modernize-avoid-c-arrays)

bool StartsWith(const char* text, const char* prefix) {
  while (*prefix != '\0') {
    if (*text++ != *prefix++) return false;
  }
  return true;
}

// Runs before the initialisation of every library, of the C library too:
// nothing but system calls.
void StartAgain(int /*argc*/, char** argv, char** environment) {
  size_t count = 0;
  for (; environment[count] != nullptr; ++count) {
    if (StartsWith(environment[count], kPolicy) ||
        StartsWith(environment[count], kSpinCount)) {
      return;
    }
  }
  if (getauxval(AT_SECURE) != 0 || getauxval(AT_BASE) == 0) return;
  std::array<char, 4096> program;
  const ssize_t length =
      readlink("/proc/self/exe", program.data(), program.size() - 1);
  if (length <= 0 || length == static_cast<ssize_t>(program.size()) - 1) return;
  program[length] = '\0';
  auto** const extended =
      static_cast<char**>(alloca((count + 2) * sizeof(char*)));
  for (size_t i = 0; i < count; ++i) extended[i] = environment[i];
  extended[count] = g_passive;
  extended[count + 1] = nullptr;
  execve(program.data(), argv, extended);
  // Where that fails, threads do not sleep.
}

__attribute__((section(".preinit_array"),
               used)) void (*g_start_again)(int, char**, char**) = &StartAgain;

#endif

}  // namespace

bool WaitsPassively() {
  const char* const policy = std::getenv("OMP_WAIT_POLICY");
  return policy != nullptr && absl::EqualsIgnoreCase(policy, "passive");
}

}  // namespace influence
