// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The inversion methods that the library brings, for the model kinds it has
// (autograd, capturing, generalized_linear). Each solves or approximates
// (C + lambda I)^-1 b, C of all the model's parameters as one block:
//
// method     options (default)                                 numbers
// direct     second_order (hessian)                            smallest_
//                                                              eigenvalue
// ihm        none
// kfac,      fisher (empirical), uncovered (diagonal), seed    eigenvalues
// ekfac
//
// - second_order: hessian, gauss_newton or generalized_gauss_newton.
// - direct: forms and factorises A; smallest_eigenvalue, with a remark, only
//   where A is indefinite.
// - ihm, the inverse harmonic mean: mean_n (g_n g_n^T + lambda I)^-1 b; lambda
//   > 0.
// - kfac, ekfac: fisher is empirical, exact or sampled (with a seed), uncovered
//   is diagonal, drop or error; Kronecker-factored by layer. A generalized
//   linear model is one layer: no uncovered, no sampled Fisher. Eigenvalues
//   come as "eigenvalues/<layer>", [O, I].
#ifndef INFLUENCE_OPERATORS_INVERSION_METHODS_H_
#define INFLUENCE_OPERATORS_INVERSION_METHODS_H_

#include "absl/status/status.h"
#include "operators/inversion_registry.h"

namespace influence {

// Registers all of them. kAlreadyExists, naming it, if one is there.
absl::Status RegisterBuiltInInversionMethods(InversionRegistry& registry);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_INVERSION_METHODS_H_
