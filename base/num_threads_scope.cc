// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/num_threads_scope.h"

#include <dlfcn.h>

#include "ATen/Context.h"
#include "ATen/Parallel.h"

namespace influence {
namespace {

// What at::set_num_threads() calls, but for the number that it leaves to new
// threads. Looked up, since not every LibTorch has both.
struct Runtime {
  void (*set_openmp)(int) = nullptr;
  int (*set_mkl)(int) = nullptr;  // Returns what was set before.

  bool is_whole() const {
    return set_openmp != nullptr && (set_mkl != nullptr || !at::hasMKL());
  }
};

const Runtime& FindRuntime() {
  static const Runtime runtime = {
      reinterpret_cast<void (*)(int)>(
          dlsym(RTLD_DEFAULT, "omp_set_num_threads")),
      reinterpret_cast<int (*)(int)>(
          dlsym(RTLD_DEFAULT, "MKL_Set_Num_Threads_Local"))};
  return runtime;
}

}  // namespace

// Asked first: a thread that asks for the first time takes over what another
// one has set last, now rather than later.
NumThreadsScope::NumThreadsScope(int num_threads)
    : before_(at::get_num_threads()) {
  const Runtime& runtime = FindRuntime();
  if (runtime.is_whole()) {
    runtime.set_openmp(num_threads);
    if (runtime.set_mkl != nullptr) mkl_before_ = runtime.set_mkl(num_threads);
  }
  // A LibTorch with threads of another kind.
  if (at::get_num_threads() != num_threads) at::set_num_threads(num_threads);
}

NumThreadsScope::~NumThreadsScope() {
  const Runtime& runtime = FindRuntime();
  if (runtime.is_whole()) {
    runtime.set_openmp(before_);
    if (runtime.set_mkl != nullptr) runtime.set_mkl(mkl_before_);
  }
  if (at::get_num_threads() != before_) at::set_num_threads(before_);
}

}  // namespace influence
