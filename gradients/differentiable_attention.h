// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Keeps scaled-dot-product attention twice differentiable.
#ifndef INFLUENCE_GRADIENTS_DIFFERENTIABLE_ATTENTION_H_
#define INFLUENCE_GRADIENTS_DIFFERENTIABLE_ATTENTION_H_

namespace influence {

// LibTorch's fused attention kernels have no second derivative. While at least
// one object of this class lives, the mathematical kernel is used instead; the
// caller's settings come back with the last one. The forward pass that is to be
// differentiated twice must run within the scope.
//
// The settings are the process's, not the thread's: a forward pass that runs in
// another thread at the same time uses the mathematical kernel too, which
// changes its result by rounding only. Threads may make and destroy objects at
// the same time, but nobody else may change the settings meanwhile.
class DifferentiableAttentionScope {
 public:
  DifferentiableAttentionScope();
  ~DifferentiableAttentionScope();
  DifferentiableAttentionScope(const DifferentiableAttentionScope&) = delete;
  DifferentiableAttentionScope& operator=(const DifferentiableAttentionScope&) =
      delete;
};

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_DIFFERENTIABLE_ATTENTION_H_
