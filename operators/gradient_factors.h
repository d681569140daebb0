// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What factored gradients cost to keep and to multiply, and copies of them in
// another dtype.
#ifndef INFLUENCE_OPERATORS_GRADIENT_FACTORS_H_
#define INFLUENCE_OPERATORS_GRADIENT_FACTORS_H_

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/factored_gradients.h"

namespace influence {

// The same gradients in float32 or float64: factors are converted, which costs
// their memory. Terms that do not show their factors (an embedding's) are
// wrapped: they are written out, tile by tile, where a sample has at most 2^20
// scalars, and multiplied in their own dtype where it has more.
absl::StatusOr<FactoredGradients> ConvertGradients(
    const FactoredGradients& grads, at::ScalarType dtype);

// Multiply-adds of FactoredGradients::Gram() for a pair of samples, if both
// have as many positions as those of `grads`; an estimate.
double GramCost(const FactoredGradients& grads);

// Bytes of memory that keeping the gradients takes; an upper bound where
// factors are expanded views or do not show themselves.
double StoredBytes(const FactoredGradients& grads);

// Bytes a sample of the factors that outer products hold, all positions
// counted; other terms are left out.
int64_t FactorBytesPerSample(const FactoredGradients& grads);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_GRADIENT_FACTORS_H_
