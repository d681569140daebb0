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

// The least that MKL's kernels for Intel's processors ask for; it takes those
// for AVX-512 by itself where there is that.
bool HasAvx2() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") != 0 &&
         __builtin_cpu_supports("fma") != 0;
#else
  return false;
#endif
}

}  // namespace

void ChooseMklKernelsByInstructionSet() {
  const char* const choice = std::getenv("INFLUENCE_MKL_KERNELS");
  g_by_instruction_set =
      HasAvx2() && (choice == nullptr || std::string(choice) != "vendor");
}

}  // namespace influence

// The symbol of the program comes before LibTorch's own.
__attribute__((visibility("default"))) int mkl_serv_intel_cpu_true() {
  return influence::g_by_instruction_set || influence::IsIntel() ? 1 : 0;
}
