// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Checks of tensor arguments. Every message names the argument, what was found
// and what was expected, and every failure is kInvalidArgument:
//
//   test factors: found shape [3, 11], expected last dimension 10
#ifndef INFLUENCE_BASE_VALIDATORS_H_
#define INFLUENCE_BASE_VALIDATORS_H_

#include <cstdint>
#include <string>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace influence {

// "[2, 3]"; "undefined" for a tensor without storage.
std::string ShapeString(const at::Tensor& tensor);

// "float32", "int64", ...: NumPy's names.
std::string DtypeName(at::ScalarType dtype);

// tensor is defined.
absl::Status ValidateDefined(absl::string_view name, const at::Tensor& tensor);

// tensor is defined and of dtype float32 or float64.
absl::Status ValidateFloating(absl::string_view name, const at::Tensor& tensor);

// tensor is defined and of an integer dtype (bool excluded).
absl::Status ValidateInteger(absl::string_view name, const at::Tensor& tensor);

// tensor is defined and has exactly the shape `expected`.
absl::Status ValidateShape(absl::string_view name, const at::Tensor& tensor,
                           at::IntArrayRef expected);

// tensor is floating, [size] or [K, size].
absl::Status ValidateVectorOrMatrix(absl::string_view name,
                                    const at::Tensor& tensor, int64_t size);

// tensor holds no NaN and no infinity; the message names the first index of
// the offending entry along dimension 0 and the value. Integer tensors pass.
// Reads the tensor once.
absl::Status ValidateFinite(absl::string_view name, const at::Tensor& tensor);

// value is finite and >= 0.
absl::Status ValidateNonNegative(absl::string_view name, double value);

// value is finite and > 0.
absl::Status ValidatePositive(absl::string_view name, double value);

}  // namespace influence

#endif  // INFLUENCE_BASE_VALIDATORS_H_
