// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The contract that every Operator keeps, as checks for its tests.
#ifndef INFLUENCE_OPERATORS_OPERATOR_TESTING_H_
#define INFLUENCE_OPERATORS_OPERATOR_TESTING_H_

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "operators/operator.h"

namespace influence {

struct OperatorContract {
  at::ScalarType dtype = at::kDouble;  // Of the operands.

  // Bound on the difference from the expected result, relative to its largest
  // entry. Rounding grows with the number of operations on a number: about the
  // dtype's epsilon times the root of P for a product, times the condition
  // number for an inverse.
  double relative_tolerance = 1e-12;

  // Op(x) . y = x . Op(y).
  bool symmetric = true;

  uint64_t seed = 1;  // Of the random operands; printed with a failure.
};

// Adds a test failure, saying which part of the contract broke, unless `op`
// - equals `dense` [P, P], column by column (the failure names the column),
// - is linear, and symmetric if so promised,
// - gives the same for a vector as for a row of a matrix, in the operands'
// shape
//   and dtype, also for no rows at all, and leaves its operand alone,
// - refuses other sizes, numbers of dimensions and integers, naming both sizes,
// - and its bilinear form is x -> Op(x) . y.
void ExpectOperatorContract(const Operator& op, const at::Tensor& dense,
                            const OperatorContract& contract = {});

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_OPERATOR_TESTING_H_
