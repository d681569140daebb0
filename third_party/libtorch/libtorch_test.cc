// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The toolchain holds together: LibTorch, Abseil and GoogleTest compile, link
// and run in one program, with NDEBUG, OpenMP and one std::string.
#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/ops/ones.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

absl::StatusOr<double> Sum(const at::Tensor& tensor) {
  if (!tensor.defined()) return absl::InvalidArgumentError("tensor: undefined");
  return tensor.sum().item<double>();
}

TEST(LibtorchTest, TensorsCompute) {
  const absl::StatusOr<double> sum = Sum(at::ones({3, 4}, at::kDouble));
  ASSERT_TRUE(sum.ok()) << sum.status();
  EXPECT_EQ(*sum, 12.0);
  EXPECT_EQ(Sum(at::Tensor()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(LibtorchTest, ExceptionsAndStringsCrossTheLibrary) {
  std::string message;
  try {
    at::ones({2}).add(at::ones({3}));
  } catch (const c10::Error& error) {
    message = error.what_without_backtrace();
  }
  EXPECT_THAT(message,
              testing::HasSubstr("must match the size of tensor b (3)"));
}

TEST(LibtorchTest, ParallelForUsesTheThreadsItIsGiven) {
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  std::vector<int> seen(4, -1);
  at::parallel_for(0, 4, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) seen[i] = at::get_thread_num();
  });
  at::set_num_threads(before);
  EXPECT_THAT(seen, testing::Contains(0));
  EXPECT_THAT(seen, testing::Contains(1));
}

TEST(LibtorchTest, AbseilLinks) {
  absl::flat_hash_map<std::string, int> map;
  std::mutex mutex;
  const std::vector<int> values = {1, 2, 3};
  const auto insert = [&](absl::string_view name, absl::Span<const int> span) {
    const std::lock_guard<std::mutex> lock(mutex);
    map[std::string(name)] = span[0];
  };
  absl::FunctionRef<void(absl::string_view, absl::Span<const int>)> ref =
      insert;
  ref(absl::StrCat("a", 1), values);
  EXPECT_EQ(map.at("a1"), 1);
  EXPECT_EQ(absl::StrFormat("%.2f", 0.5), "0.50");
  EXPECT_GT(absl::ToUnixSeconds(absl::Now()), 0);
}

#ifndef NDEBUG
#error LibTorch must be compiled against with NDEBUG.
#endif

}  // namespace
}  // namespace influence
