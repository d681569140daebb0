// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// How exact numbers of a dtype are.
#ifndef INFLUENCE_BASE_ROUNDING_UNIT_H_
#define INFLUENCE_BASE_ROUNDING_UNIT_H_

#include "ATen/core/Tensor.h"

namespace influence {

// The distance from 1 to the next number: 2^-52 for float64, 2^-23 for float32
// and every other dtype, whose products are taken in float32.
double RoundingUnit(at::ScalarType dtype);

}  // namespace influence

#endif  // INFLUENCE_BASE_ROUNDING_UNIT_H_
