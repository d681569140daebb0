// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The one place where exceptions end. LibTorch reports errors by throwing
// c10::Error, and any allocation may throw std::bad_alloc; every public
// function of this library that calls LibTorch does so inside CatchTorch(),
// which turns an exception into an absl::Status:
//
//   return CatchTorch("per-sample gradients",
//                     [&]() -> absl::StatusOr<at::Tensor> { ... });
//
// std::bad_alloc (and LibTorch's own allocation failure) becomes
// kResourceExhausted, everything else kInternal; the message is
// "<what>: <first line of the exception>". Costs nothing when nothing throws.
#ifndef INFLUENCE_BASE_TORCH_BOUNDARY_H_
#define INFLUENCE_BASE_TORCH_BOUNDARY_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace influence {

// The exception being handled, as a Status. Call inside a catch block only.
absl::Status StatusFromCurrentException(absl::string_view what);

// Calls `function`, whose result is absl::Status or absl::StatusOr<T>, and
// returns what it returns, or the Status of what it throws.
template <typename Function>
auto CatchTorch(absl::string_view what, Function&& function)
    -> decltype(std::forward<Function>(function)()) {
  try {
    return std::forward<Function>(function)();
  } catch (...) {
    return StatusFromCurrentException(what);
  }
}

}  // namespace influence

#endif  // INFLUENCE_BASE_TORCH_BOUNDARY_H_
