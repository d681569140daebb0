// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/mkl_kernels.h"

#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>

#include "ATen/Context.h"
#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/mm.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

bool IsIntel() {
#if defined(__x86_64__)
  return __builtin_cpu_is("intel") != 0;
#else
  return false;
#endif
}

bool HasAvx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") != 0 &&
         __builtin_cpu_supports("fma") != 0;
#else
  return false;
#endif
}

// The first test: the answers before and after the choice.
TEST(MklKernelsTest, AnswersByInstructionSetOnceChosen) {
  EXPECT_EQ(mkl_serv_intel_cpu_true() != 0, IsIntel());
  setenv("INFLUENCE_MKL_KERNELS", "vendor", /*overwrite=*/1);
  ChooseMklKernelsByInstructionSet();
  EXPECT_EQ(mkl_serv_intel_cpu_true() != 0, IsIntel());
  unsetenv("INFLUENCE_MKL_KERNELS");
  ChooseMklKernelsByInstructionSet();
  EXPECT_EQ(mkl_serv_intel_cpu_true() != 0, IsIntel() || HasAvx2());
}

TEST(MklKernelsTest, MklFindsTheAnswerOfTheProgram) {
  if (!at::hasMKL()) GTEST_SKIP() << "this LibTorch has no MKL";
  EXPECT_EQ(dlsym(RTLD_DEFAULT, "mkl_serv_intel_cpu_true"),
            reinterpret_cast<void*>(&mkl_serv_intel_cpu_true));
  // And there is a question of this name.
  EXPECT_NE(dlsym(RTLD_NEXT, "mkl_serv_intel_cpu_true"), nullptr);
}

TEST(MklKernelsTest, ProductsStayRight) {
  ChooseMklKernelsByInstructionSet();
  constexpr int64_t kSize = 67;  // Not a multiple of a vector.
  const at::Tensor a = at::arange(kSize * kSize, at::kFloat).sin_();
  const at::Tensor x = a.view({kSize, kSize});
  const at::Tensor product = at::mm(x, x.t());
  const float* const values = a.data_ptr<float>();
  for (int64_t i = 0; i < kSize; ++i) {
    for (int64_t j = 0; j < kSize; ++j) {
      double expected = 0;
      for (int64_t k = 0; k < kSize; ++k) {
        expected += static_cast<double>(values[i * kSize + k]) *
                    static_cast<double>(values[j * kSize + k]);
      }
      EXPECT_NEAR(product[i][j].item<float>(), expected, 1e-4);
    }
  }
}

}  // namespace
}  // namespace influence
