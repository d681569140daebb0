// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/mkl_kernels.h"

#include <atomic>
#include <cstdlib>
#include <string>

namespace influence {
namespace {

std::atomic<bool> g_by_instruction_set{false};

bool IsIntel() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_is("intel") != 0;
#else
  return false;
#endif
}

bool HasAvx512() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") != 0 &&
         __builtin_cpu_supports("avx512bw") != 0 &&
         __builtin_cpu_supports("avx512cd") != 0 &&
         __builtin_cpu_supports("avx512dq") != 0 &&
         __builtin_cpu_supports("avx512vl") != 0;
#else
  return false;
#endif
}

}  // namespace

void ChooseMklKernelsByInstructionSet() {
  const char* const choice = std::getenv("INFLUENCE_MKL_KERNELS");
  g_by_instruction_set =
      HasAvx512() && (choice == nullptr || std::string(choice) != "vendor");
}

}  // namespace influence

// The symbol of the program comes before LibTorch's own.
__attribute__((visibility("default"))) int mkl_serv_intel_cpu_true() {
  return influence::g_by_instruction_set || influence::IsIntel() ? 1 : 0;
}
