// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/differentiable_attention.h"

#include "ATen/Context.h"
#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace influence {
namespace {

struct Kernels {
  bool flash = true;
  bool memory_efficient = true;
  bool math = true;
};

// Templates, because the oldest LibTorch that is supported has no such
// settings: it always uses the mathematical kernel where a gradient is wanted.
template <typename Context>
Kernels EnabledKernels(const Context& context) {
  if constexpr (requires(const Context& c) { c.userEnabledFlashSDP(); }) {
    return {context.userEnabledFlashSDP(), context.userEnabledMemEfficientSDP(),
            context.userEnabledMathSDP()};
  } else {
    return {};
  }
}

template <typename Context>
void EnableKernels(const Kernels& kernels, Context& context) {
  if constexpr (requires(Context & c) { c.setSDPUseFlash(true); }) {
    context.setSDPUseFlash(kernels.flash);
    context.setSDPUseMemEfficient(kernels.memory_efficient);
    context.setSDPUseMath(kernels.math);
  }
}

struct Scopes {
  absl::Mutex mutex;
  int count ABSL_GUARDED_BY(mutex) = 0;
  Kernels before ABSL_GUARDED_BY(mutex);
};

Scopes& GlobalScopes() {
  static Scopes* scopes = new Scopes;  // Never destroyed.
  return *scopes;
}

}  // namespace

DifferentiableAttentionScope::DifferentiableAttentionScope() {
  Scopes& scopes = GlobalScopes();
  absl::MutexLock lock(&scopes.mutex);
  if (scopes.count++ > 0) return;
  at::Context& context = at::globalContext();
  scopes.before = EnabledKernels(context);
  EnableKernels({false, false, true}, context);
}

DifferentiableAttentionScope::~DifferentiableAttentionScope() {
  Scopes& scopes = GlobalScopes();
  absl::MutexLock lock(&scopes.mutex);
  if (--scopes.count > 0) return;
  EnableKernels(scopes.before, at::globalContext());
}

}  // namespace influence
