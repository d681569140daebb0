// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/rounding_unit.h"

#include <limits>

namespace influence {

double RoundingUnit(at::ScalarType dtype) {
  return dtype == at::kDouble ? std::numeric_limits<double>::epsilon()
                              : std::numeric_limits<float>::epsilon();
}

}  // namespace influence
