// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The sums over samples that KFAC and EKFAC are made of (kronecker_fit.h), for
// one group of one layer: inputs a [N, T, I] and output gradients g [N, T, O]
// of N samples at T positions, of one floating dtype and any strides. With
// `append_one` each a is followed by a 1 (the bias), and I below counts it.
// Those of all H groups of a layer have a dimension [H] in front, that of the
// factors comes second: [N, H, T, I].
//
// Products are in the dtype of the factors, results are added in float64. All
// throw c10::Error on a LibTorch failure and assume the stated shapes;
// thread-safe for different sums. Run in LibTorch's threads.
#ifndef INFLUENCE_OPERATORS_KRONECKER_STATISTICS_H_
#define INFLUENCE_OPERATORS_KRONECKER_STATISTICS_H_

#include <vector>

#include "ATen/core/Tensor.h"

namespace influence {

// Adds sum_n sum_t x x^T, x [N, T, F], to the upper triangle of `sums` [F, F]
// (with the diagonal; F with the appended 1). The rest of `sums` may change and
// means nothing. N T F^2 multiply-adds, about half for F of several hundred.
void AddSecondMoment(const at::Tensor& x, bool append_one,
                     const at::Tensor& sums);

// The same for x [N, H, T, F], sums [H, F, F]. Narrow groups are summed in one
// batched product.
void AddSecondMoments(const at::Tensor& x, bool append_one,
                      const at::Tensor& sums);

// The symmetric matrices of upper triangles as above, [*, F, F].
at::Tensor SymmetricFromUpper(const at::Tensor& upper);

// The inputs and output gradients of one use of a layer.
struct PositionFactors {
  at::Tensor inputs;     // [N, T, I without the appended 1]
  at::Tensor gradients;  // [N, T, O]
};

// Adds sum_n (U_G^T G_n U_A)^2, entry by entry, to `sums` [Q, R], where
// G_n = sum_t g a^T over the positions of all uses. U_A [I, R] and U_G [O, Q]
// have the dtype of the factors. Without positions (one use, T = 1) this is
// (g U_G)^2^T (a U_A)^2, one matrix product and never N O I numbers; otherwise
// G_n is formed for a tile of samples, and each side is rotated before or
// after, whichever is less.
void AddSquaredRotations(const std::vector<PositionFactors>& uses,
                         bool append_one, const at::Tensor& input_eigenvectors,
                         const at::Tensor& gradient_eigenvectors,
                         const at::Tensor& sums);

// The same for inputs [N, H, T, I] and gradients [N, H, T, O], U_A [H, I, R],
// U_G [H, O, Q] and sums [H, Q, R]. Narrow groups share batched products.
void AddSquaredRotationsOfGroups(const std::vector<PositionFactors>& uses,
                                 bool append_one,
                                 const at::Tensor& input_eigenvectors,
                                 const at::Tensor& gradient_eigenvectors,
                                 const at::Tensor& sums);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_KRONECKER_STATISTICS_H_
