// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/differentiable_attention.h"

#include <mutex>

#include "ATen/Context.h"

namespace influence {
namespace {

struct Kernels {
  bool flash = true;
  bool memory_efficient = true;
  bool math = true;
};

// Templates, because the oldest LibTorch that is supported has no memory
// efficient kernel to switch off.
template <typename Context>
Kernels EnabledKernels(const Context& context) {
  Kernels kernels;
  kernels.flash = context.userEnabledFlashSDP();
  kernels.math = context.userEnabledMathSDP();
  if constexpr (requires { context.userEnabledMemEfficientSDP(); }) {
    kernels.memory_efficient = context.userEnabledMemEfficientSDP();
  }
  return kernels;
}

template <typename Context>
void EnableKernels(const Kernels& kernels, Context& context) {
  context.setSDPUseFlash(kernels.flash);
  context.setSDPUseMath(kernels.math);
  if constexpr (requires { context.setSDPUseMemEfficient(true); }) {
    context.setSDPUseMemEfficient(kernels.memory_efficient);
  }
}

struct Scopes {
  std::mutex mutex;  // Guards what follows.
  int count = 0;
  Kernels before;
};

Scopes& GlobalScopes() {
  static Scopes* scopes = new Scopes;  // Never destroyed.
  return *scopes;
}

}  // namespace

DifferentiableAttentionScope::DifferentiableAttentionScope() {
  Scopes& scopes = GlobalScopes();
  const std::lock_guard<std::mutex> lock(scopes.mutex);
  if (scopes.count++ > 0) return;
  at::Context& context = at::globalContext();
  scopes.before = EnabledKernels(context);
  EnableKernels({false, false, true}, context);
}

DifferentiableAttentionScope::~DifferentiableAttentionScope() {
  Scopes& scopes = GlobalScopes();
  const std::lock_guard<std::mutex> lock(scopes.mutex);
  if (--scopes.count > 0) return;
  EnableKernels(scopes.before, at::globalContext());
}

}  // namespace influence
