// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Options and suppressions of the sanitizers. They are linked in rather than
// read from a file, so that a program started by hand has them as well; the
// variables ASAN_OPTIONS, TSAN_OPTIONS, ... still override them.
//
// Their names are the sanitizers' own:
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming)
extern "C" {

// An allocation that is too large fails as it does without the sanitizer: the
// library answers it with a Status, and tests see to that.
const char* __asan_default_options() {
  return "allocator_may_return_null=1:detect_stack_use_after_return=1:"
         "strict_init_order=1";
}

const char* __ubsan_default_options() { return "print_stacktrace=1"; }

// Leaks are looked for. LibTorch registers operators and caches engines once in
// a process and never frees them.
const char* __lsan_default_suppressions() {
  return "leak:libtorch_cpu.so\n"
         "leak:libc10.so\n";
}

const char* __lsan_default_options() { return "print_suppressions=0"; }

// Neither LibTorch nor the OpenMP runtime is instrumented: a lock or a barrier
// inside them is invisible, and what they order looks like a race.
const char* __tsan_default_options() {
  return "allocator_may_return_null=1:halt_on_error=1:"
         "ignore_noninstrumented_modules=1";
}

// What threads of our own do is checked. Regions of OpenMP, of which there are
// some in Eigen and none here, are not, since only the runtime's barriers order
// them.
const char* __tsan_default_suppressions() {
  return "called_from_lib:libtorch_cpu.so\n"
         "called_from_lib:libc10.so\n"
         "called_from_lib:libgomp.so.1\n"
         "race:_omp_fn\n";
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
