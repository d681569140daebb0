// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The inversion methods that the library brings, for the model kinds it has
// (autograd, capturing, generalized_linear). Each solves or approximates
// (C + lambda I)^-1 b, C of all the model's parameters as one block:
//
// method     options (default)
// direct     second_order (hessian)
// cg         second_order (hessian), tolerance, max_iterations, block (true),
//            preconditioner (none), rank (10), seed
// lissa      second_order (hessian), scale, dampen, max_iterations, tolerance,
//            seed
// arnoldi    second_order (hessian), rank (10), seed, tolerance, max_restarts,
//            low_rank_inverse (exact)
// nystroem   second_order (generalized_gauss_newton), rank (10), seed,
//            low_rank_inverse (exact)
// ihm        none
// kfac,      fisher (empirical), uncovered (diagonal), seed
// ekfac
//
// - second_order: hessian, gauss_newton or generalized_gauss_newton.
// - direct: forms and factorises A. Where it is indefinite, a remark says so,
//   and the number "smallest_eigenvalue".
// - cg: options as in ConjugateGradientOptions; preconditioner none, jacobi
//   (diagonal of gauss_newton) or nystroem (a sketch of C, with rank and seed).
//   A report a right-hand side.
// - lissa: options as in LissaOptions, a batch of the data a step. A report a
//   right-hand side, and the number "scale".
// - arnoldi, nystroem: options as in ArnoldiOptions and NystroemOptions;
//   low_rank_inverse exact or projected. The numbers "eigenvalues", and of
//   arnoldi "products".
// - ihm, the inverse harmonic mean: mean_n (g_n g_n^T + lambda I)^-1 b; lambda
//   > 0.
// - kfac, ekfac: fisher is empirical, exact or sampled (with a seed), uncovered
//   is diagonal, drop or error; Kronecker-factored by layer. A generalized
//   linear model is one layer: no uncovered, no sampled Fisher. The numbers
//   "eigenvalues/<layer>", [O, I].
#ifndef INFLUENCE_OPERATORS_INVERSION_METHODS_H_
#define INFLUENCE_OPERATORS_INVERSION_METHODS_H_

#include "absl/status/status.h"
#include "operators/inversion_registry.h"

namespace influence {

// Registers all of them. kAlreadyExists, naming it, if one is there.
absl::Status RegisterBuiltInInversionMethods(InversionRegistry& registry);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_INVERSION_METHODS_H_
