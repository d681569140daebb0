// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/num_threads_scope.h"

#include <dlfcn.h>

#include <thread>

#include "ATen/Context.h"
#include "ATen/Parallel.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

int Call(const char* function) {
  const auto found = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, function));
  return found != nullptr ? found() : -1;
}

void ExpectOfMkl(int num_threads) {
  if (at::hasMKL()) {
    EXPECT_EQ(Call("MKL_Get_Max_Threads"), num_threads);
  }
}

TEST(NumThreadsScopeTest, HoldsInItsThreadForAWhile) {
  const int before = at::get_num_threads();
  at::set_num_threads(3);
  {
    const NumThreadsScope one(1);
    EXPECT_EQ(at::get_num_threads(), 1);
    EXPECT_EQ(Call("omp_get_max_threads"), 1);
    ExpectOfMkl(1);
    {
      const NumThreadsScope two(2);
      EXPECT_EQ(at::get_num_threads(), 2);
      ExpectOfMkl(2);
    }
    EXPECT_EQ(at::get_num_threads(), 1);
    ExpectOfMkl(1);
  }
  EXPECT_EQ(at::get_num_threads(), 3);
  ExpectOfMkl(3);
  at::set_num_threads(before);
}

TEST(NumThreadsScopeTest, LeavesOtherThreadsAlone) {
  const int before = at::get_num_threads();
  at::set_num_threads(3);
  {
    const NumThreadsScope one(1);
    int others = 0;
    std::thread([&others] { others = at::get_num_threads(); }).join();
    EXPECT_EQ(others, 3);
  }
  at::set_num_threads(before);
}

}  // namespace
}  // namespace influence
