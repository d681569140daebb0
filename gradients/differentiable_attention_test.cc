// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/differentiable_attention.h"

#include <thread>
#include <vector>

#include "ATen/Context.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

// Whether any kernel without a second derivative may be chosen. Templates: the
// oldest LibTorch has no memory efficient kernel.
template <typename Context>
bool FusedIsEnabled(const Context& context) {
  if constexpr (requires { context.userEnabledMemEfficientSDP(); }) {
    if (context.userEnabledMemEfficientSDP()) return true;
  }
  return context.userEnabledFlashSDP();
}

template <typename Context>
void EnableFused(bool enabled, Context& context) {
  context.setSDPUseFlash(enabled);
  if constexpr (requires { context.setSDPUseMemEfficient(true); }) {
    context.setSDPUseMemEfficient(enabled);
  }
}

TEST(DifferentiableAttentionTest, NestedScopesRestoreOnce) {
  at::Context& context = at::globalContext();
  EnableFused(true, context);
  EXPECT_TRUE(FusedIsEnabled(context));
  {
    const DifferentiableAttentionScope outer;
    EXPECT_FALSE(FusedIsEnabled(context));
    {
      const DifferentiableAttentionScope inner;
      EXPECT_FALSE(FusedIsEnabled(context));
    }
    EXPECT_FALSE(FusedIsEnabled(context));
  }
  EXPECT_TRUE(FusedIsEnabled(context));
}

TEST(DifferentiableAttentionTest, TheCallersOwnChoiceComesBack) {
  at::Context& context = at::globalContext();
  EnableFused(false, context);
  { const DifferentiableAttentionScope scope; }
  EXPECT_FALSE(FusedIsEnabled(context));
  EnableFused(true, context);
}

TEST(DifferentiableAttentionTest, OverlappingThreadsKeepItOffTillTheLast) {
  at::Context& context = at::globalContext();
  EnableFused(true, context);
  std::vector<std::thread> threads;
  std::vector<int> violations(4, 0);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([i, &violations] {
      for (int round = 0; round < 1000; ++round) {
        const DifferentiableAttentionScope scope;
        if (FusedIsEnabled(at::globalContext())) ++violations[i];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(violations, std::vector<int>(4, 0));
  EXPECT_TRUE(FusedIsEnabled(context));
}

}  // namespace
}  // namespace influence
