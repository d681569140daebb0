// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Early return on a failed absl::Status or absl::StatusOr.
//
//   INFLUENCE_RETURN_IF_ERROR(Validate(batch));
//   INFLUENCE_ASSIGN_OR_RETURN(at::Tensor g, provider.FlatGrads(batch));
//
// Both evaluate their expression once. INFLUENCE_CHECK ends the process and is
// for bugs of this library only, never for bad input.
#ifndef INFLUENCE_BASE_STATUS_MACROS_H_
#define INFLUENCE_BASE_STATUS_MACROS_H_

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define INFLUENCE_MACRO_CONCAT_INNER(x, y) x##y
#define INFLUENCE_MACRO_CONCAT(x, y) INFLUENCE_MACRO_CONCAT_INNER(x, y)

#define INFLUENCE_RETURN_IF_ERROR(expr)                                       \
  do {                                                                        \
    if (::absl::Status influence_status_ = (expr); !influence_status_.ok()) { \
      return influence_status_;                                               \
    }                                                                         \
  } while (false)

#define INFLUENCE_ASSIGN_OR_RETURN(lhs, expr) \
  INFLUENCE_ASSIGN_OR_RETURN_IMPL(            \
      INFLUENCE_MACRO_CONCAT(influence_status_or_, __LINE__), lhs, expr)

#define INFLUENCE_ASSIGN_OR_RETURN_IMPL(status_or, lhs, expr) \
  auto status_or = (expr);                                    \
  if (!status_or.ok()) return status_or.status();             \
  lhs = *std::move(status_or)

#define INFLUENCE_CHECK(condition)                                          \
  do {                                                                      \
    if (!(condition)) {                                                     \
      std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, \
                   #condition);                                             \
      std::abort();                                                         \
    }                                                                       \
  } while (false)

#endif  // INFLUENCE_BASE_STATUS_MACROS_H_
